"""Make a report of protocol runs, from their results.json files alone."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import command
from softprompt.core.base.say import say

FORMATS = ("text", "markdown", "latex", "csv", "html")


@command()
def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python tools/report.py output/base2new --format markdown; "
        "missing runs are named",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="OUT",
        help="a run that tools/base2new.sh and its like made or should have made, or a folder "
        "of such runs",
    )
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.add_argument("--output", metavar="FILE", help="write to this file, not to the screen")
    given = parser.parse_args(arguments)
    from softprompt.core.protocols.report.build import build_report, render
    from softprompt.core.protocols.runs import find_runs

    text = render(build_report(find_runs(given.folders)), given.format)
    if not given.output:
        say(text)
        return 0
    file = Path(given.output).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n" * (not text.endswith("\n")), encoding="utf-8")
    say(f"written: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
