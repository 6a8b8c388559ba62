"""Train every prompt learner under every trainer and print base / new / H as one table."""

import argparse
import functools
import os
import sys
from pathlib import Path

import _checkout  # noqa: F401
from _matrix_table import Cell, markdown
from _workers import attempt, told_outcomes

from softprompt.core.base.cli import command, split_pairs

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
BUDGET = CONFIGS / "base" / "matrix.yaml"
OWN = ("PROMPT.NAME", "TRAINER.NAME", "SEED", "OUTPUT_DIR", "TEST.CLASSES")
TABLE = "matrix.md"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__
        + " All pairs have one budget, that of configs/base/matrix.yaml; each learner's and each "
        "trainer's own options are those of configs/<name>/tiny.yaml (a trainer that has files by "
        "learner: configs/<name>/<learner>_tiny.yaml), or else its defaults. No pair is tuned. "
        "Learners that train nothing, such as zeroshot, are evaluated once. A run "
        "that is there already is not repeated, one that was cut off goes on.",
        epilog="example: python tools/matrix.py --output-dir output/matrix --learners coop maple "
        "--seeds 1 OPTIM.MAX_EPOCH 5",
    )
    parser.add_argument("--output-dir", required=True, help=f"where all runs and {TABLE} go")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--learners", nargs="+", metavar="NAME", help="default: all registered")
    parser.add_argument("--trainers", nargs="+", metavar="NAME", help="default: all registered")
    parser.add_argument(
        "--table", action="store_true", help="only print the table of the runs that are there"
    )
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="settings of all runs")
    return parser.parse_args(_options_last(arguments))


def _options_last(arguments: list[str]) -> list[str]:
    """Keep ``--learners coop OPTIM.LR 1`` from taking KEY VALUE pairs for learners."""
    flags, pairs = split_pairs(arguments)
    return [*flags, "--", *pairs] if pairs else flags


@functools.cache
def own_options(component: str, name: str, file: Path) -> dict:
    """Return what a configuration sets for the learner or trainer of that name."""
    from softprompt.core.config.load import load_config
    from softprompt.core.config.options import node_name

    cfg = load_config(str(file)) if file.is_file() else None
    if cfg is None or cfg[component].NAME != name:
        return {}
    prefix = f"{component}.{node_name(name)}"
    return {f"{prefix}.{key}": value for key, value in cfg[component][node_name(name)].items()}


def trainer_file(trainer: str, learner: str) -> Path:
    """Return a trainer's own configuration: the one for this learner, if it has such files."""
    by_learner = any((CONFIGS / trainer).glob("*_tiny.yaml"))
    return CONFIGS / trainer / (f"{learner}_tiny.yaml" if by_learner else "tiny.yaml")


def configuration(cell: Cell, pairs: list[str]):
    """Return the configuration of a cell's run."""
    from softprompt.core.config.load import load_config

    learner_file = CONFIGS / cell.learner / "tiny.yaml"
    flags = {
        "PROMPT.NAME": cell.learner,
        "TRAINER.NAME": cell.trainer or "erm",
        "SEED": cell.seed,
        "OUTPUT_DIR": str(cell.folder),
        **own_options("PROMPT", cell.learner, learner_file),
        **own_options("TRAINER", cell.trainer, trainer_file(cell.trainer, cell.learner)),
    }
    return load_config(str(BUDGET), flags=flags, pairs=pairs)


def plan(given: argparse.Namespace) -> list[Cell]:
    """Return the cells, all pairs of the first seed first.

    Raises:
        UserError: there is no such learner or trainer, or an option cannot be what it is.
    """
    from softprompt.core.base.errors import UserError
    from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS

    output = Path(given.output_dir).expanduser()
    for key in OWN:
        if key in given.options[::2]:
            raise UserError(f"{key} is what the matrix varies or needs; leave it out")
    if given.jobs < 1:
        raise UserError(f"--jobs is {given.jobs}, but must be at least 1")
    any_cell = Cell("zeroshot", "", given.seeds[0], output)
    cfg = configuration(any_cell, given.options)  # imports the plugins, too
    for registry, names in ((PROMPT_LEARNERS, given.learners), (TRAINERS, given.trainers)):
        for name in names or ():
            _ = registry[name]  # says so if there is none of that name
    learners = _chosen(PROMPT_LEARNERS, given.learners)
    trainers = _chosen(TRAINERS, given.trainers)
    seeds = list(dict.fromkeys(given.seeds))
    untrained = trained_by_none(cfg, given.options)
    return [Cell(name, "", seeds[0], output / name) for name in untrained] + [
        Cell(learner, trainer, seed, output / learner / trainer / f"seed{seed}")
        for seed in seeds
        for learner in learners
        if learner not in untrained
        for trainer in trainers
    ]


def _chosen(registry, names: list[str] | None) -> list[str]:
    from softprompt.core.base.registry import normalized

    return list(dict.fromkeys(map(normalized, names))) if names else registry.names()


def trained_by_none(cfg, pairs: list[str]) -> list[str]:
    """Return the registered learners that have nothing to train."""
    from softprompt.core.base.registry import PROMPT_LEARNERS
    from softprompt.core.clip.build import build_clip
    from softprompt.core.engine.build import build_learner

    clip = build_clip(cfg.MODEL.BACKBONE.NAME, "")  # what can be trained shows without weights
    found = []
    for name in PROMPT_LEARNERS.names():
        own = configuration(Cell(name, "", 0, Path()), pairs)
        try:
            learner = build_learner(own, clip, ("one", "other"))
        except Exception:  # its own runs will say what is wrong with it
            continue
        if not any(True for _ in learner.parameters()):
            found.append(name)
    return found


@functools.cache
def shared():
    """What the runs of this process have in common."""
    from softprompt.core.engine.shared import Shared

    return Shared()


def run_cell(job: tuple[Cell, list[str]]) -> str:
    """Run one cell in a worker; return "" or, in one line, what went wrong."""
    from softprompt.core.engine.run import evaluate, train

    cell, pairs = job

    def work() -> None:
        cfg = configuration(cell, pairs)
        if cell.trainer:
            train(cfg, resume=True, shared=shared())
        else:
            evaluate(cfg, shared=shared())

    return attempt(work, cell.folder.with_name(f"{cell.folder.name}-error.txt"))


def run_missing(cells: list[Cell], pairs: list[str], jobs: int) -> int:
    """Run what has not finished and return how many runs failed."""
    from softprompt.core.engine.run_folder import run_folder

    for cell in cells:  # a folder of other settings is refused before hours are spent
        run_folder(configuration(cell, pairs), resume=True)
    missing = [cell for cell in cells if cell.scores() is None]
    print(f"{len(cells)} runs, {len(cells) - len(missing)} of them there already", flush=True)

    def scores(job: tuple[Cell, list[str]]) -> str:
        base, new = job[0].scores()
        return f"base {base:.1f}, new {new:.1f}"

    return told_outcomes(
        run_cell,
        [(cell, pairs) for cell in missing],
        jobs,
        lambda job: f"{job[0].name}, seed {job[0].seed}",
        scores,
    )


@command("interrupted; the same command goes on")
def main(arguments: list[str]) -> int:
    given = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # of each worker; --jobs shares out the cores

    output = Path(given.output_dir).expanduser()
    cells = plan(given)
    if given.table:
        print(markdown(cells), end="")
        return 0
    failed = run_missing(cells, given.options, given.jobs)
    if failed < len(cells):
        table = markdown(cells)
        (output / TABLE).write_text(table, encoding="utf-8")
        print(f"\n{table}", end="")
    if failed:
        print(f"error: {failed} runs failed; the same command repeats them", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
