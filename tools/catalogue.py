"""Print what is registered: datasets, prompt learners and trainers with options and papers."""

import argparse
import sys

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, command
from softprompt.core.base.say import say


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="examples: python tools/catalogue.py trainers; python tools/catalogue.py prometar; "
        "python tools/catalogue.py --markdown PLUGINS mine.py yours.py",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help="show only these names or kinds (datasets, learners, trainers); after the word "
        "PLUGINS stand modules or .py files that register classes of your own",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--markdown", action="store_true", help="as Markdown tables")
    group.add_argument("--json", action="store_true", help="as JSON, with what each option means")
    given = parser.parse_intermixed_args(arguments)
    words, given.plugins = given.words, []
    if "PLUGINS" in words:
        split = words.index("PLUGINS")
        given.words, given.plugins = words[:split], words[split + 1 :]
    given.form = "json" if given.json else "markdown" if given.markdown else "text"
    return given


@command()
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.studies.catalogue import catalogue

    say(catalogue(given.words, given.plugins, given.form))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
