"""Replay a recorded official training run and compare every number of it."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, command
from softprompt.core.base.say import say


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="exit code 0: all errors are within the tolerance or rounding, 1: one is not, 2: "
        "the record cannot be replayed. Where one is beyond the tolerance, the run is replayed in "
        "the other precision: a number that this moves by nearly as much is rounding",
    )
    parser.add_argument("record", type=Path, help="a record such as tests/golden/ProMetaR.json")
    parser.add_argument(
        "--recipe",
        type=Path,
        help="module of weights and batches; default: recipe.py beside the record, or else that of "
        "tests/golden",
    )
    parser.add_argument("--single", action="store_true", help="run ours in float32")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        metavar="E",
        help="the largest relative error that needs no explanation; default: 1e-4",
    )
    return parser.parse_args(arguments)


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.errors import UserError
    from softprompt.core.studies.parity import replay_file

    if not given.tolerance >= 0:
        raise UserError(f"--tolerance is {given.tolerance}, but must be at least 0")
    found = replay_file(given.record, given.recipe, given.single, given.tolerance)
    for kind, each in found.items():
        remark = ""
        if each.rounding is not None:
            what = "too large" if each.differs(given.tolerance) else "rounding"
            remark = f"  <-- {what}: the replay's precision moves it by {each.rounding:.1e}"
        say(f"{kind:28} {each.error:.2e}{remark}")
    return 1 if any(each.differs(given.tolerance) for each in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
