"""What ``tools/gram_controls.py`` runs: GRAM, its parts, and what each part is compared with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matrix import BUDGET, CONFIGS, own_options

from softprompt.core.protocols.report.labels import shots_label

GRAM = CONFIGS / "gram"
# name: the prompt learner, and its configurations of meta-training and of training
LEARNERS = {
    "coop": ("coop", GRAM / "meta_coop_tiny.yaml", GRAM / "coop_tiny.yaml"),
    "unigram": ("ivlp", GRAM / "meta_tiny.yaml", GRAM / "tiny.yaml"),
}
# what is meta-trained: the settings that differ from the default
META = {
    "full": {},
    "joint": {"META.INNER.STEPS": 0, "META.REGULATOR.FORM": "none"},
    "random": {"META.TASKS.KIND": "random"},
    "one domain": {"META.TASKS.SAME_DOMAIN": True},
    "no regulator": {"META.REGULATOR.FORM": "none"},
    "supmer": {"META.REGULATOR.FORM": "supmer"},
    "film": {"META.REGULATOR.FORM": "film"},
}
HALF = 0.00125  # of the budget's OPTIM.LR: `supmer` ends up multiplying gradients by one half
# what is trained: which of them it uses, settings that differ, and what the table calls it
CONTROLS = {
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


class Control(NamedTuple):
    """One meta-training."""

    output: Path
    learner: str
    name: str  # "": none

    def __str__(self) -> str:
        return f"meta-training {self.learner}, {self.name}"

    @property
    def folder(self) -> Path:
        return self.output / "meta" / self.learner / self.name.replace(" ", "_")

    def configuration(self):
        from softprompt.core.meta.config import load_meta_config

        flags = {
            "OUTPUT_DIR": str(self.folder),
            "META.PAIRS.CACHE": str(self.output / "pairs"),
            **META[self.name],
        }
        return load_meta_config(str(LEARNERS[self.learner][1]), flags)

    def finished(self) -> bool:
        return (self.folder / "results.json").is_file()

    def line(self) -> str:
        """What came out, in some words."""
        found = json.loads((self.folder / "results.json").read_text())
        by_step = {each["step"]: each["loss"] for each in found["validations"]}
        return (
            f"held-out loss {by_step[0]:.3f} to {by_step[found['step']]:.3f} after step "
            f"{found['step']} of {found['steps']}, {found['seconds']['meta_train']:.0f} s"
        )


class Trained(NamedTuple):
    """One training with what was meta-trained, or without, and its evaluations."""

    output: Path
    learner: str
    name: str
    shots: int
    seed: int

    def __str__(self) -> str:
        return f"{self.learner}, {self.name}, {shots_label(self.shots)}, seed {self.seed}"

    @property
    def control(self) -> Control:
        return Control(self.output, self.learner, CONTROLS[self.name][0])

    @property
    def folder(self) -> Path:
        name = self.name.replace(" ", "_")
        return self.output / self.learner / name / f"shots{self.shots}-seed{self.seed}"

    def configuration(self, **changes):
        from softprompt.core.config.load import load_config

        learner, _, file = LEARNERS[self.learner]
        options = dict(CONTROLS[self.name][1])
        if self.control.name:
            options["TRAINER.GRAM.FILE"] = str(self.control.folder)
        flags = {
            "PROMPT.NAME": learner,
            "TRAINER.NAME": "gram" if self.control.name else "erm",
            "SEED": self.seed,
            "OUTPUT_DIR": str(self.folder),
            "DATASET.NUM_SHOTS": self.shots,
            "TEST.ZERO_SHOT": False,
            "TRAIN.CHECKPOINT_FREQ": 1 if self.by_epoch else 0,
            **own_options("PROMPT", learner, file),
            **options,
            **changes,
        }
        return load_config(str(BUDGET), flags=flags)

    @property
    def most_shots(self) -> bool:
        return self.shots == SHOTS[-1]

    @property
    def by_epoch(self) -> bool:
        return self.name in CURVES and self.most_shots

    def _evaluated(self) -> Iterator[tuple[str, dict, int, tuple[str, ...]]]:
        """Yield, of each evaluation, its folder's name, what it changes, its epoch, its classes."""
        if self.most_shots:
            yield from ((d, {"DATASET.NAME": d}, 0, ("base",)) for d in SHIFTED)
        if self.by_epoch:
            yield from ((f"epoch{epoch}", {}, epoch, SETS) for epoch in EPOCHS)

    def evaluations(self) -> Iterator[tuple[object, int, tuple[str, ...]]]:
        """Yield configuration, epoch and class sets of the evaluations that are not there."""
        for name, changes, epoch, subsets in self._evaluated():
            if self.scores(name) is None:
                place = {"OUTPUT_DIR": str(self.folder / "eval" / name)}
                yield self.configuration(**changes, **place), epoch, subsets

    def scores(self, evaluation: str = "") -> dict[str, float] | None:
        """Return the accuracy on each class set, None before it is known."""
        place = self.folder / "eval" / evaluation if evaluation else self.folder
        file = place / "results.json"
        if not file.is_file():
            return None
        (found,) = json.loads(file.read_text())["results"].values()
        return {subset: values["accuracy"] for subset, values in found.items()}

    def shifted(self) -> float:
        """Return the mean accuracy on the base classes in the shifted domains."""
        return sum(self.scores(name)["base"] for name in SHIFTED) / len(SHIFTED)

    def finished(self) -> bool:
        names = ["", *(name for name, *_ in self._evaluated())]
        return all(self.scores(name) is not None for name in names)

    def line(self) -> str:
        """What came out, in some words."""
        found = self.scores()
        return f"base {found['base']:.1f}, new {found['new']:.1f}"
