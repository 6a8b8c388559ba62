"""Replay a recorded official training run and compare every number of it."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import command


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="exit code 0: all errors are within the tolerance, 1: not all, 2: the record cannot "
        "be replayed",
    )
    parser.add_argument("record", type=Path, help="a record such as tests/golden/ProMetaR.json")
    parser.add_argument(
        "--recipe",
        type=Path,
        help="module of weights and batches; default: recipe.py beside the record, or else that of "
        "tests/golden",
    )
    parser.add_argument("--single", action="store_true", help="run ours in float32")
    return parser.parse_args(arguments)


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.studies.parity import TOLERANCE, replay_file

    worst = replay_file(given.record, given.recipe, given.single)
    for kind, error in worst.items():
        print(f"{kind:28} {error:.2e}{'' if error <= TOLERANCE else '  <-- too large'}")
    return 0 if max(worst.values()) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
