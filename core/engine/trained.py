"""Prompts that another run trained: to evaluate, or to start a training from."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from torch import Tensor
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, shown
from softprompt.core.clip.build import RANDOM
from softprompt.core.engine import checkpoint
from softprompt.core.engine.prompt_file import load_prompts
from softprompt.core.engine.trainer import Trainer
from softprompt.core.prompts.base import PromptLearner


def load_trained(cfg: CfgNode, run: Path, epoch: int = 0) -> tuple[Path, dict[str, Tensor], dict]:
    """Return a run's prompt file, its tensors and its header.

    Args:
        run: the run's folder, or the prompt file.
        epoch: 0: the last one.

    Raises:
        UserError: there is none, or the configuration has another backbone or learner.
    """
    file = checkpoint.find_prompts(run, epoch)
    tensors, header = load_prompts(file)
    for key, given, saved in (
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, header["backbone"]["name"]),
        ("PROMPT.NAME", cfg.PROMPT.NAME.lower(), header["learner"]),
    ):
        if given != saved:
            raise UserError(f"{file} was trained with {key} {saved!r}, not {given!r}")
    return file, tensors, header


class WarmStart:
    """The start of a training at the prompts of another run, ``TRAIN.INIT_FROM``.

    Attributes:
        said: where the prompts come from, for log, results and the headers of prompt files.
    """

    def __init__(self, cfg: CfgNode, learner: PromptLearner, classnames: tuple[str, ...]):
        """Load the prompts into a new learner.

        Args:
            classnames: those that the learner was constructed with.

        Raises:
            UserError: there are none, or they are of another backbone, learner, shape or, where
                they differ from class to class, of other classes.
        """
        run = Path(cfg.TRAIN.INIT_FROM).expanduser()
        if not os.path.exists(run):  # False, too, for a path that no system takes
            raise UserError(
                f"TRAIN.INIT_FROM {shown(str(run))}: there is no such run to start from"
            )
        self.file, self.tensors, header = load_trained(cfg, run)
        checkpoint.load_into(learner, self.tensors, self.file)
        theirs = tuple(header["classnames"])
        if theirs != classnames and not _serves(learner, theirs):
            raise UserError(
                f"{self.file} has prompts for each of its {len(theirs)} classes, which are not the "
                f"{len(classnames)} classes to train on; start from a run on the same classes"
            )
        weights = cfg.MODEL.BACKBONE.PRETRAINED or RANDOM
        self.differences = {
            "template": (header.get("template"), learner.template),
            "weights": (header["backbone"].get("weights"), weights),
        }
        digest = hashlib.sha256(self.file.read_bytes()).hexdigest()[:12]
        self.said = f"{self.file}, epoch {header['epoch']}, sha256 {digest}"

    def check(self, trainer: Trainer) -> None:
        """Raise ``UserError`` if the trainer's constructor has set another start."""
        own = trainer.model.learner.state_dict()
        if any(not own[name].cpu().equal(value) for name, value in self.tensors.items()):
            raise UserError(
                f"{type(trainer).__name__} sets the prompts' start itself, so they cannot start "
                f"from {self.file}; leave --init-from out (gram: or set TRAINER.GRAM.INITIALIZE "
                "False)"
            )

    def cautions(self) -> list[str]:
        """Return the warnings of a start that fits by its shapes alone."""
        return [
            f"the prompts start from {self.file}, trained with the {what} {theirs!r}, not {ours!r}"
            for what, (theirs, ours) in self.differences.items()
            if theirs != ours
        ]


def started_from(folder: Path) -> str | None:
    """Return where the prompts of an interrupted training came from; None without a checkpoint."""
    for saved in reversed(checkpoint.complete(folder / "checkpoints")):
        with suppress(UserError):  # damaged, so the run goes on from the one before
            _, header = load_prompts(saved.place / checkpoint.PROMPTS)
            return header.get("init_from", "")
    return None


def _serves(learner: PromptLearner, classnames: tuple[str, ...]) -> bool:
    """Return whether the very prompts of a learner serve other classes too."""
    try:
        return learner.for_classes(classnames) is learner
    except UserError:
        return False
