"""Make a report of protocol runs, from their results.json files alone."""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import command

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
    from softprompt.core.base.files import write_atomically, writing_to
    from softprompt.core.protocols.report.build import build_report, render
    from softprompt.core.protocols.runs import find_runs

    text = render(build_report(find_runs(given.folders)), given.format)
    if not given.output:
        print(text)
        return 0
    file = Path(given.output).expanduser()
    with writing_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text + "\n" * (not text.endswith("\n")))
    print(f"written: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
