"""Print the tables of protocol runs, from their results.json files alone."""

import argparse
import sys

import _checkout  # noqa: F401
from _ending import ends_in_one_line


@ends_in_one_line()
def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python tools/report.py output/base2new/coop; what is incomplete is said",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="OUT",
        help="a run that tools/base2new.sh and its like made or should have made, or a folder "
        "of such runs",
    )
    given = parser.parse_args(arguments)
    from softprompt.core.runs import find_runs
    from softprompt.core.summary import summary

    print(summary(find_runs(given.folders)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
