"""Make a report of runs, from their results.json files alone."""

import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, command
from softprompt.core.base.say import complain, say

FORMATS = ("text", "markdown", "latex", "csv", "html")
SPREADS = ("interval", "std", "none")


@command()
def main(arguments: list[str]) -> int:
    parser = Parser(
        description=f"{__doc__} A results.json that is damaged is named and left out, and the exit "
        "code is then 1.",
        epilog="example: python tools/report.py output/base2new --format markdown "
        "--name coop=CoOp; missing runs are named",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="OUT",
        help="a run that tools/base2new.sh and its like made or should have made, or a folder "
        "of runs of any kind",
    )
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.add_argument("--output", metavar="FILE", help="write to this file, not to the screen")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="call a method or dataset by a name of your own, such as coop=CoOp; may be repeated",
    )
    parser.add_argument(
        "--spread",
        choices=SPREADS,
        default=SPREADS[0],
        help="what follows ±: half of the 95%% interval over seeds, their standard deviation, or "
        "nothing",
    )
    given = parser.parse_args(arguments)
    from softprompt.core.base.files import check_file
    from softprompt.core.protocols.report.build import build_report, render
    from softprompt.core.protocols.runs import find_runs

    if given.output:
        check_file(Path(given.output).expanduser(), "--output")
    report = build_report(find_runs(given.folders), given.name)
    text = render(report, given.format, given.spread)
    if given.output:
        say(f"written: {write(text, given.output)}")
    else:
        say(text.rstrip("\n"))
    for line in report.left_out if given.output else ():
        complain(f"left out: {line}")
    return 1 if report.left_out else 0


def write(text: str, name: str) -> Path:
    """Write the report to a file, which keeps what it held if that fails."""
    from softprompt.core.base.files import write_atomically, writing_to

    file = Path(name).expanduser()
    with writing_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.rstrip("\n") + "\n")
    return file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
