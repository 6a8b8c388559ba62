"""Measure training steps, evaluation and start-up against what the official code computes.

Every row runs in processes of its own: one in which both take turns, for seconds and operations,
and one for each, for memory. Weights are random. Seconds on the CPU are processor time, which other
work on the machine hardly changes.
"""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command, refuse_together
from softprompt.core.base.errors import UserError
from softprompt.core.base.say import say
from softprompt.core.studies.benchmark.rows import BACKBONES, QUICK, ROWS


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="example: python tools/benchmark.py --output-dir output/benchmark --rows quick "
        "--methods coop maple",
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="benchmark.json and .md")
    parser.add_argument("--methods", nargs="+", choices=[*ROWS], metavar="ROW", help="some rows")
    parser.add_argument("--classes", nargs="+", type=at_least(1), help="instead of those of --rows")
    parser.add_argument(
        "--rows",
        choices=("quick", "full", "growth", "operations"),
        default="quick",
        help=f"quick: {QUICK[0]} classes; full: those of the table; growth: curves, ours alone; "
        "operations: how many a step has, for every learner under every trainer",
    )
    parser.add_argument("--repeats", type=at_least(1), default=5, help="timed runs of each at most")
    parser.add_argument(
        "--seconds", type=float, default=60, help="begin no further run of a row after so many"
    )
    parser.add_argument(
        "--size", choices=[*BACKBONES], default="vit_b16", help="of the backbone; tiny: a trial"
    )
    parser.add_argument("--threads", type=at_least(1), default=1)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="ours; theirs is fp32"
    )
    parser.add_argument(
        "--device-path",
        choices=("gpu", "cpu"),
        help="whose operations --rows operations counts, on any machine (default gpu)",
    )
    parser.add_argument("--no-reference", action="store_true", help="run ours alone")
    given = parser.parse_args(arguments)
    if given.rows == "growth" and (given.methods or given.classes):
        raise UserError("--rows growth has rows and classes of its own; leave out the others")
    if given.rows == "growth":
        refuse_together(given, "--rows growth, which runs ours alone", "--no-reference")
    if given.device_path and given.rows != "operations":
        raise UserError("--device-path is for --rows operations")
    given.device_path = given.device_path or "gpu"
    given.methods = given.methods or []  # all
    return given


@command("interrupted; what was measured is in the output folder")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.files import check_folder
    from softprompt.core.studies.benchmark.run import Settings, run_benchmark

    check_folder(given.output_dir, "--output-dir")
    say(run_benchmark(Settings(**vars(given))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
