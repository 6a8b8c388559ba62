"""The plan of the matrix: every prompt learner under every trainer, with one budget."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import CONFIGS
from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS, Registry, normalized
from softprompt.core.config.load import load_config
from softprompt.core.config.options import node_name
from softprompt.core.engine.run_folder import run_folder
from softprompt.core.protocols.cells import EVALUATE, TRAIN, Cell

BUDGET = CONFIGS / "base" / "matrix.yaml"
VARIED = ("PROMPT.NAME", "TRAINER.NAME", "SEED", "OUTPUT_DIR", "TEST.CLASSES")


class MatrixRun(NamedTuple):
    """One training, or the evaluation of a learner that has nothing to train."""

    learner: str
    trainer: str  # "": only evaluated
    seed: int
    folder: Path

    @property
    def model(self) -> str:
        """The pair, or the learner alone."""
        return f"{self.learner} under {self.trainer}" if self.trainer else self.learner

    @property
    def name(self) -> str:
        return f"{self.model}, seed {self.seed}"


@dataclass(frozen=True)
class Matrix:
    """All runs of one matrix: where they write and what they have in common."""

    output: Path
    pairs: tuple[str, ...] = ()  # KEY, VALUE, KEY ..., settings of all runs
    configs: Path = CONFIGS

    def plan(
        self, learners: Sequence[str], trainers: Sequence[str], seeds: Sequence[int]
    ) -> list[MatrixRun]:
        """Return the runs, all pairs of the first seed first.

        Args:
            learners, trainers: names; (): all that are registered.

        Raises:
            UserError: a name is not registered, or a setting is not valid or varied by the matrix.
        """
        for key in VARIED:
            if key in self.pairs[::2]:
                raise UserError(f"{key} is what the matrix varies or needs; leave it out")
        cfg = self.configuration(self._evaluation("zeroshot", seeds[0]))  # imports plugins, too
        learners, trainers = _chosen(PROMPT_LEARNERS, learners), _chosen(TRAINERS, trainers)
        seeds = list(dict.fromkeys(seeds))
        untrained = self._untrained(cfg)
        return [self._evaluation(name, seeds[0]) for name in untrained] + [
            MatrixRun(learner, trainer, seed, self.output / learner / trainer / f"seed{seed}")
            for seed in seeds
            for learner in learners
            if learner not in untrained
            for trainer in trainers
        ]

    def cell(self, run: MatrixRun) -> Cell:
        """Return the cell of a run."""
        learner_file = self.configs / run.learner / "tiny.yaml"
        trainer_file = self._trainer_file(run.trainer, run.learner)
        return Cell.below(
            self.output,
            run.folder.relative_to(self.output),
            name=run.name,
            method=run.learner,
            group=("matrix",),
            config_file=str(BUDGET),
            flags={
                "PROMPT.NAME": run.learner,
                "TRAINER.NAME": run.trainer or "erm",
                "SEED": run.seed,
                **own_options("PROMPT", run.learner, learner_file),
                **own_options("TRAINER", run.trainer, trainer_file),
            },
            pairs=self.pairs,
            runner=TRAIN if run.trainer else EVALUATE,
        )

    def configuration(self, run: MatrixRun) -> CfgNode:
        return self.cell(run).configuration()

    def _evaluation(self, learner: str, seed: int) -> MatrixRun:
        return MatrixRun(learner, "", seed, self.output / learner)

    def _trainer_file(self, trainer: str, learner: str) -> Path:
        """Return a trainer's own configuration: the one for this learner, if it has such files."""
        by_learner = any((self.configs / trainer).glob("*_tiny.yaml"))
        name = f"{learner}_tiny.yaml" if by_learner else "tiny.yaml"
        return self.configs / trainer / name

    def _untrained(self, cfg: CfgNode) -> list[str]:
        """Return the registered learners that have nothing to train."""
        from softprompt.core.clip.build import build_clip
        from softprompt.core.engine.build import build_learner

        clip = build_clip(cfg.MODEL.BACKBONE.NAME, "")  # parameters are counted without weights
        untrained = []
        for name in PROMPT_LEARNERS.names():
            own = self.configuration(self._evaluation(name, 0))
            try:
                learner = build_learner(own, clip, ("one", "other"))
            except Exception:  # its own runs will report it
                continue
            if not any(True for _ in learner.parameters()):
                untrained.append(name)
        return untrained


def check_folders(cells: Sequence[Cell]) -> None:
    """Check that no folder holds a run with other settings, before hours are spent.

    Raises:
        UserError: one does.
    """
    for cell in cells:
        run_folder(cell.configuration(), resume=True)


@functools.cache
def own_options(component: str, name: str, file: Path) -> dict:
    """Return the settings of a file for the learner or trainer of that name, by dotted key.

    There are none if the file does not exist or chooses another one.
    """
    cfg = load_config(str(file)) if file.is_file() else None
    if cfg is None or cfg[component].NAME != name:
        return {}
    prefix = f"{component}.{node_name(name)}"
    return {f"{prefix}.{key}": value for key, value in cfg[component][node_name(name)].items()}


def _chosen(registry: Registry, names: Sequence[str]) -> list[str]:
    for name in names:
        _ = registry[name]  # raises if there is none of that name
    return list(dict.fromkeys(map(normalized, names))) if names else registry.names()
