"""Print which pictures CoOp's few-shot draw takes from a split file, or the lists' fingerprints."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command
from softprompt.core.base.say import say


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="example: python tools/list_fewshot.py --split DATA/eurosat/split_zhou_EuroSAT.json "
        "--shots 16 --seed 1; each line is path<TAB>label<TAB>class name",
    )
    parser.add_argument("--split", required=True, help="the split file (.json or .json.gz)")
    parser.add_argument(
        "--shots", required=True, type=at_least(1), help="pictures a class to train on"
    )
    parser.add_argument("--seed", required=True, type=at_least(0))
    parser.add_argument(
        "--sha256",
        action="store_true",
        help="print number and sha256 of the lines of the train and of the val list instead",
    )
    return parser.parse_args(arguments)


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.data.splits import list_draw

    say(list_draw(Path(given.split).expanduser(), given.shots, given.seed, given.sha256))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
