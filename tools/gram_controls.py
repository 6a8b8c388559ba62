"""Meta-train GRAM and its controls, train with each of them, and print what each part brings."""

import argparse
import os
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command
from softprompt.core.base.files import check_folder, write_atomically, writing_to
from softprompt.core.base.say import say
from softprompt.core.meta.controls import (
    CONTROLS,
    LEARNERS,
    cells_of,
    plan_controls,
    summary_of,
)
from softprompt.core.meta.controls_table import controls_markdown
from softprompt.core.protocols.driver import run_cells
from softprompt.core.protocols.engines.engine import Engine
from softprompt.core.protocols.progress import print_failures
from softprompt.core.protocols.worker import threads_asked

TABLE = "controls.md"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=f"{__doc__}"
        " Meta-training is that of configs/gram/meta_coop_tiny.yaml and meta_tiny.yaml, training "
        "has the budget of configs/base/matrix.yaml. A finished run is not repeated, one that was "
        "cut off goes on.",
        epilog="example: python tools/gram_controls.py --output-dir output/controls --learners "
        "coop --seeds 1 --controls host full",
    )
    parser.add_argument("--output-dir", required=True, help=f"where all runs and {TABLE} go")
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    for what, names in (("learners", LEARNERS), ("controls", CONTROLS)):
        parser.add_argument(
            f"--{what}", nargs="+", choices=list(names), default=list(names), metavar="NAME",
            help=f"of {', '.join(names)}; default: all",
        )  # fmt: skip
    parser.add_argument(
        "--table", action="store_true", help="only print the tables of the finished runs"
    )
    return parser.parse_args(arguments)


@command("interrupted; the same command goes on")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    engine = Engine(jobs=given.jobs, threads=threads_asked() or 1)
    engine.check(fewest_jobs=1)
    output = Path(given.output_dir).expanduser()
    if not given.table:
        check_folder(output, "--output-dir")
    metas, trainings = plan_controls(output, given.learners, given.controls, given.seeds)
    if given.table:
        say(f"\n{controls_markdown(trainings)}", end="")
        return int(any(run.damages() for run in trainings))
    cells = cells_of(metas, trainings)
    errors = run_cells(cells, engine, output, summary=summary_of)
    if any(run.finished() for run in trainings):
        table = controls_markdown(trainings)
        with writing_to(output / TABLE):
            write_atomically(output / TABLE, table)
        say(f"\n{table}", end="")
    return print_failures(errors, len(cells)) or int(any(run.damages() for run in trainings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
