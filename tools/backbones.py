"""Print which prompts each backbone takes, read off the models; no weights are loaded."""

import sys

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, command
from softprompt.core.base.say import say


@command()
def main(arguments: list[str]) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    names = parser.parse_args(arguments).names
    from softprompt.core.studies.backbones import table

    say(table(names))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
