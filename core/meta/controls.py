"""GRAM and what it is compared with: the plan of ``tools/gram_controls.py``.

A control is meta-trained with other settings, or leaves out a part of GRAM in training. All are
trained with the budget of the matrix, and evaluated on shifted domains and after some epochs, too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from softprompt.core.base.files import CONFIGS
from softprompt.core.engine.results import OF_META_TRAINING
from softprompt.core.engine.results import read as read_results
from softprompt.core.protocols.cells import EVALUATE, TRAIN, Cell
from softprompt.core.protocols.plans.matrix import BUDGET, own_options
from softprompt.core.protocols.report.table import shots_label
from softprompt.core.protocols.runs import accuracies, summary
from softprompt.core.protocols.stored import damage_of

GRAM = CONFIGS / "gram"
META_TRAIN = "softprompt.core.meta.controls:meta_train_cell"
# Name: the prompt learner, and its configurations of meta-training and of training.
LEARNERS = {
    "coop": ("coop", GRAM / "meta_coop_tiny.yaml", GRAM / "coop_tiny.yaml"),
    "unigram": ("ivlp", GRAM / "meta_tiny.yaml", GRAM / "tiny.yaml"),
}
# The meta-trainings: their settings that differ from the default.
META: dict[str, dict] = {
    "full": {},
    "joint": {"META.INNER.STEPS": 0, "META.REGULATOR.FORM": "none"},
    "random": {"META.TASKS.KIND": "random"},
    "one domain": {"META.TASKS.SAME_DOMAIN": True},
    "no regulator": {"META.REGULATOR.FORM": "none"},
    "supmer": {"META.REGULATOR.FORM": "supmer"},
    "film": {"META.REGULATOR.FORM": "film"},
}
HALF = 0.00125  # of the budget's OPTIM.LR: `supmer` ends up multiplying gradients by one half
# The trainings: their meta-training ("": none), settings that differ, and the label in the table.
CONTROLS: dict[str, tuple[str, dict, str]] = {
    "host": ("", {}, "host: cross-entropy from “a photo of a”"),
    "joint": ("joint", {}, "start trained on the same tasks without meta-learning"),
    "start": ("full", {"TRAINER.GRAM.REGULATE": False}, "GRAM's start alone"),
    "regulator": ("full", {"TRAINER.GRAM.INITIALIZE": False}, "GRAM's regulator alone"),
    "full": ("full", {}, "GRAM: start and regulator"),
    "random": ("random", {}, "GRAM, random tasks"),
    "one domain": ("one domain", {}, "GRAM, queries in the support's domain"),
    "no regulator": ("no regulator", {}, "meta-trained without a regulator"),
    "supmer": ("supmer", {}, "GRAM, regulator `supmer`"),
    "film": ("film", {}, "GRAM, regulator `film`"),
    "half rate": ("", {"OPTIM.LR": HALF}, "host at half the rate"),
    "supmer start half rate": (
        "supmer",
        {"TRAINER.GRAM.REGULATE": False, "OPTIM.LR": HALF},
        "the start of `supmer` alone at half the rate",
    ),
}
CURVES = ("host", "full")  # trained with all numbers of shots, evaluated after some epochs
SHOTS = (1, 2, 4, 8, 16)
EPOCHS = (1, 5)
SHIFTED = ("shapes_v2", "shapes_sketch", "shapes_rendition", "shapes_cluttered")
SETS = ("base", "new")


class MetaTraining(NamedTuple):
    """One meta-training of a learner."""

    output: Path
    learner: str
    name: str

    @property
    def place(self) -> Path:
        return Path("meta", self.learner, self.name.replace(" ", "_"))

    @property
    def folder(self) -> Path:
        return self.output / self.place

    def cell(self, depends_on: str = "") -> Cell:
        flags = {"META.PAIRS.CACHE": str(self.output / "pairs"), **META[self.name]}
        return Cell.below(
            self.output,
            self.place,
            name=f"meta-training {self.learner}, {self.name}",
            method=f"meta-training {self.learner}",
            group=("meta-training",),
            config_file=str(LEARNERS[self.learner][1]),
            flags=flags,
            runner=META_TRAIN,
            depends_on=depends_on,
        )


class Training(NamedTuple):
    """One training from a meta-trained start, or without any, and its evaluations."""

    output: Path
    learner: str
    name: str
    shots: int
    seed: int

    @property
    def meta(self) -> MetaTraining | None:
        """The meta-training that it starts from."""
        name = CONTROLS[self.name][0]
        return MetaTraining(self.output, self.learner, name) if name else None

    @property
    def place(self) -> Path:
        name = self.name.replace(" ", "_")
        return Path(self.learner, name, f"shots{self.shots}-seed{self.seed}")

    @property
    def folder(self) -> Path:
        return self.output / self.place

    @property
    def has_most_shots(self) -> bool:
        return self.shots == SHOTS[-1]

    @property
    def is_followed(self) -> bool:
        """Whether it is also evaluated after some epochs."""
        return self.name in CURVES and self.has_most_shots

    def evaluations(self) -> Iterator[tuple[str, dict, int, tuple[str, ...]]]:
        """Yield the folder's name, the changed settings, epoch and class sets of each."""
        if self.has_most_shots:
            yield from ((each, {"DATASET.NAME": each}, 0, ("base",)) for each in SHIFTED)
        if self.is_followed:
            yield from ((f"epoch{epoch}", {}, epoch, SETS) for epoch in EPOCHS)

    def cells(self) -> list[Cell]:
        """Return the cell of the training, and those of its evaluations."""
        source = self.meta.cell().folder if self.meta else ""
        training = self._cell(self.place, {}, runner=TRAIN, depends_on=source)
        return [training] + [
            self._cell(
                self.place / "eval" / name,
                changes,
                runner=EVALUATE,
                model_dir=training.folder,
                epoch=epoch,
                subsets=subsets,
                depends_on=training.folder,
            )
            for name, changes, epoch, subsets in self.evaluations()
        ]

    def _cell(self, place: Path, changes: dict, **fields) -> Cell:
        learner, _, file = LEARNERS[self.learner]
        flags = {
            "PROMPT.NAME": learner,
            "TRAINER.NAME": "gram" if self.meta else "erm",
            "SEED": self.seed,
            "DATASET.NUM_SHOTS": self.shots,
            "TEST.ZERO_SHOT": False,
            "TRAIN.CHECKPOINT_FREQ": 1 if self.is_followed else 0,
            **own_options("PROMPT", learner, file),
            **CONTROLS[self.name][1],
            **({"TRAINER.GRAM.FILE": str(self.meta.folder)} if self.meta else {}),
            **changes,
        }
        name = f"{self.learner}, {self.name}, {shots_label(self.shots)}, seed {self.seed}"
        return Cell.below(
            self.output,
            place,
            name=", ".join([name, *place.relative_to(self.place).parts[1:]]),
            method=f"{self.learner}, {self.name}",
            group=(changes.get("DATASET.NAME", "shapes"),),
            config_file=str(BUDGET),
            flags=flags,
            **fields,
        )

    def scores(self, evaluation: str = "") -> dict[str, float] | None:
        """Return the accuracy in percent on each class set, None before it has finished.

        Damaged results count as none; the tables name them.
        """
        folder = self.folder / "eval" / evaluation if evaluation else self.folder
        return None if damage_of(folder) else accuracies(folder)

    def damages(self) -> list[str]:
        """Return what is wrong with damaged results of this training and its evaluations."""
        folders = [self.folder, *(self.folder / "eval" / name for name, *_ in self.evaluations())]
        return [damage for folder in folders if (damage := damage_of(folder))]

    def finished(self) -> bool:
        names = ["", *(name for name, *_ in self.evaluations())]
        return all(self.scores(name) is not None for name in names)


def plan_controls(
    output: Path, learners: Sequence[str], controls: Sequence[str], seeds: Sequence[int]
) -> tuple[list[MetaTraining], list[Training]]:
    """Return the meta-trainings and the trainings, those of the main table first."""
    trainings = [
        Training(output, learner, name, shots, seed)
        for learner in learners
        for seed in dict.fromkeys(seeds)
        for name in controls
        for shots in (SHOTS if name in CURVES else SHOTS[-1:])
    ]
    metas = dict.fromkeys(run.meta for run in trainings if run.meta)
    return list(metas), sorted(trainings, key=lambda run: not run.has_most_shots)


def cells_of(metas: Sequence[MetaTraining], trainings: Sequence[Training]) -> list[Cell]:
    """Return the cells, each after the one that it depends on.

    The first meta-training leaves features and clusters that the others reuse, so they wait for it.
    """
    cells: list[Cell] = []
    for meta in metas:
        cells.append(meta.cell(depends_on=cells[0].folder if cells else ""))
    return cells + [cell for run in trainings for cell in run.cells()]


def meta_train_cell(cell: Cell) -> None:
    """Meta-train, or resume, the run of a cell."""
    from softprompt.core.meta.config import load_meta_config  # these import torch
    from softprompt.core.meta.run import meta_train

    meta_train(load_meta_config(cell.config_file, cell.flags), resume=True)


def summary_of(cell: Cell) -> str:
    """Return the results of a finished cell, in words."""
    if cell.runner != META_TRAIN:
        return summary(cell)
    results = read_results(Path(cell.folder), OF_META_TRAINING) or {}
    by_step = {each["step"]: each["loss"] for each in results["validations"]}
    return (
        f"held-out loss {by_step[0]:.3f} to {by_step[results['step']]:.3f} after step "
        f"{results['step']} of {results['steps']}"
    )
