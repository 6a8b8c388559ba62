"""Meta-train GRAM and its controls, train with each of them, and print what each part brings."""

import argparse
import os
import sys
from pathlib import Path

import _checkout  # noqa: F401
from _controls import CONTROLS, CURVES, LEARNERS, SHOTS, Control, Trained
from _controls_table import markdown
from _workers import attempt, told_outcomes
from matrix import shared

from softprompt.core.base.cli import command

TABLE = "controls.md"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__
        + " Meta-training is that of configs/gram/meta_coop_tiny.yaml and meta_tiny.yaml, training "
        "has the budget of configs/base/matrix.yaml. What is there already is not repeated, a run "
        "that was cut off goes on.",
        epilog="example: python tools/gram_controls.py --output-dir output/controls --learners "
        "coop --seeds 1 --controls host full",
    )
    parser.add_argument("--output-dir", required=True, help=f"where all runs and {TABLE} go")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    for what, names in (("learners", LEARNERS), ("controls", CONTROLS)):
        parser.add_argument(
            f"--{what}", nargs="+", choices=list(names), default=list(names), metavar="NAME",
            help=f"of {', '.join(names)}; default: all",
        )  # fmt: skip
    parser.add_argument(
        "--table", action="store_true", help="only print the tables of the runs that are there"
    )
    return parser.parse_args(arguments)


def plan(given: argparse.Namespace) -> tuple[list[Control], list[Trained]]:
    """Return the meta-trainings and the trainings, those of the main table first."""
    output = Path(given.output_dir).expanduser()
    found = [
        Trained(output, learner, name, shots, seed)
        for learner in given.learners
        for seed in dict.fromkeys(given.seeds)
        for name in given.controls
        for shots in (SHOTS if name in CURVES else SHOTS[-1:])
    ]
    controls = dict.fromkeys(run.control for run in found if run.control.name)
    return list(controls), sorted(found, key=lambda run: not run.most_shots)


def meta_train_one(control: Control) -> str:
    """Meta-train in a worker; return "" or, in one line, what went wrong."""
    from softprompt.core.meta.run import meta_train

    return attempt(
        lambda: meta_train(control.configuration(), resume=True),
        control.folder.with_name(f"{control.folder.name}-error.txt"),
    )


def train_one(run: Trained) -> str:
    """Train and evaluate in a worker; return "" or, in one line, what went wrong."""
    from softprompt.core.engine.run import evaluate, train

    def work() -> None:
        train(run.configuration(), resume=True, shared=shared())
        for cfg, epoch, subsets in run.evaluations():
            evaluate(cfg, str(run.folder), epoch, subsets, shared=shared())

    return attempt(work, run.folder.with_name(f"{run.folder.name}-error.txt"))


def run_missing(work, jobs: list, count: int) -> int:
    """Do what is not finished and return how many failed."""
    missing = [job for job in jobs if not job.finished()]
    return told_outcomes(work, missing, count, str, lambda job: job.line())


@command("interrupted; the same command goes on")
def main(arguments: list[str]) -> int:
    from softprompt.core.base.errors import UserError

    given = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # of each worker; --jobs shares out the cores
    if given.jobs < 1:
        raise UserError(f"--jobs is {given.jobs}, but must be at least 1")
    controls, runs = plan(given)
    failed = 0
    if not given.table:
        # the first one leaves features and clusters for the others
        for part in (controls[:1], controls[1:]):
            failed += run_missing(meta_train_one, part, given.jobs)
        if failed:
            raise UserError(f"{failed} meta-trainings failed; the same command repeats them")
        failed = run_missing(train_one, runs, given.jobs)
    table = markdown(runs)
    if not given.table:
        (Path(given.output_dir).expanduser() / TABLE).write_text(table, encoding="utf-8")
    print(f"\n{table}", end="")
    if failed:
        print(f"error: {failed} runs failed; the same command repeats them", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
