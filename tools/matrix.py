"""Train every prompt learner under every trainer and print base / new / H as one table."""

import argparse
import os
import sys
from pathlib import Path

import _checkout  # noqa: F401

from softprompt.core.base.cli import Parser, at_least, command, parse_with_pairs
from softprompt.core.base.say import say

TABLE = "matrix.md"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        description=f"{__doc__}"
        " All pairs have one budget, that of configs/base/matrix.yaml; each learner's and each "
        "trainer's own options are those of configs/<name>/tiny.yaml (a trainer that has files by "
        "learner: configs/<name>/<learner>_tiny.yaml), or else its defaults. No pair is tuned. "
        "Learners that train nothing, such as zeroshot, are evaluated once. A finished run "
        "is not repeated, one that was cut off goes on.",
        epilog="example: python tools/matrix.py --output-dir output/matrix --learners coop maple "
        "--seeds 1 OPTIM.MAX_EPOCH 5",
    )
    parser.add_argument("--output-dir", required=True, help=f"where all runs and {TABLE} go")
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    for what in ("learners", "trainers"):
        parser.add_argument(
            f"--{what}", nargs="+", default=[], metavar="NAME", help="default: all registered"
        )
    parser.add_argument(
        "--table", action="store_true", help="only print the table of the finished runs"
    )
    return parse_with_pairs(parser, arguments)


@command("interrupted; the same command goes on")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    from softprompt.core.base.files import check_folder, write_atomically, writing_to
    from softprompt.core.protocols.driver import run_cells
    from softprompt.core.protocols.engines.engine import Engine
    from softprompt.core.protocols.plans.matrix import Matrix, check_folders
    from softprompt.core.protocols.progress import print_failures
    from softprompt.core.protocols.report.matrix import matrix_markdown
    from softprompt.core.protocols.runs import summary
    from softprompt.core.protocols.stored import damage_of
    from softprompt.core.protocols.worker import threads_asked

    engine = Engine(jobs=given.jobs, threads=threads_asked() or 1)
    engine.check(fewest_jobs=1)
    output = Path(given.output_dir).expanduser()
    if not given.table:
        check_folder(output, "--output-dir")
    matrix = Matrix(output, tuple(given.options))
    runs = matrix.plan(given.learners, given.trainers, given.seeds)
    if given.table:
        say(matrix_markdown(runs), end="")
        return int(any(damage_of(run.folder) for run in runs))
    cells = [matrix.cell(run) for run in runs]
    check_folders(cells)
    errors = run_cells(cells, engine, output, summary=summary)
    if len(errors) < len(cells):
        table = matrix_markdown(runs)
        with writing_to(output / TABLE):
            write_atomically(output / TABLE, table)
        say(f"\n{table}", end="")
    return print_failures(errors, len(cells)) or int(any(damage_of(it.folder) for it in runs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
