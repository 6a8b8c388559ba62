"""Classify picture files by the prompts of a run, with its class names or any others."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.clip.build import configured_clip, warnings_of
from softprompt.core.clip.prompted import PromptedCLIP, check_classes
from softprompt.core.config.load import load_config
from softprompt.core.config.saved import SavedSettings
from softprompt.core.data.pictures import FileReader
from softprompt.core.data.transforms import Preprocessing, evaluation_transform
from softprompt.core.engine import checkpoint
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.evaluate import Classifier


class Prediction(NamedTuple):
    """The probabilities of the classes for one picture file."""

    file: str
    probabilities: Tensor | None  # (classes,), on the CPU; None: the picture cannot be read
    error: str = ""  # why not


class Predictor:
    """A classifier of picture files by the prompts of a run, which needs no dataset."""

    def __init__(
        self,
        run: str | Path,
        classnames: Iterable[str] = (),
        pairs: Iterable[str] = (),
        trust_plugins: bool = False,
    ):
        """Load the prompts of a run's last epoch.

        Args:
            run: the run's folder, or a prompt file.
            classnames: the classes to choose from; empty: those that the prompts were trained for.
            pairs: ``[KEY, VALUE ...]`` to change in the run's configuration.
            trust_plugins: import the run's ``PLUGINS``, which ``pairs`` must repeat otherwise.

        Raises:
            UserError: there are no prompts, they cannot be used with these class names, or the run
                names plugins that ``pairs`` does not.
        """
        file = checkpoint.find_prompts(Path(run).expanduser())
        tensors, header = checkpoint.load_prompts(file)
        saved = SavedSettings(file, header["config"], trust_plugins)
        cfg = load_config(pairs=list(pairs), saved=saved)
        trained: tuple[str, ...] = tuple(header["classnames"])
        self.classnames = tuple(classnames) or trained
        _check_classnames(self.classnames)
        self.clip = configured_clip(cfg)
        learner = build_learner(cfg, self.clip, trained)
        checkpoint.load_into(learner, tensors, file)
        check_classes(learner, self.clip, trained, self.classnames)
        self.model = PromptedCLIP(self.clip, learner, self.classnames)
        preprocessing = Preprocessing.of(self.clip, cfg.INPUT)
        self.transform = evaluation_transform(cfg.INPUT.TRANSFORMS, preprocessing)
        self.warnings = warnings_of(self.clip, self.classnames)
        self.batch_size = cfg.DATALOADER.TEST.BATCH_SIZE

    @torch.no_grad()
    def __call__(self, files: Iterable[str]) -> Iterator[Prediction]:
        """Yield a prediction for each picture file, in their order; files may not exist."""
        files, read = list(files), FileReader("")
        classifier = Classifier(self.model)
        for start in range(0, len(files), self.batch_size):
            images: dict[str, Tensor] = {}
            errors: dict[str, str] = {}
            for file in files[start : start + self.batch_size]:
                try:
                    images[file] = self.transform(read(file))
                except UserError as error:
                    errors[file] = str(error)
            probabilities: dict[str, Tensor] = {}
            if images:
                batch = torch.stack(list(images.values())).to(self.clip.device)
                rows = classifier(batch).softmax(dim=-1).cpu()
                probabilities = dict(zip(images, rows, strict=True))
            for file in files[start : start + self.batch_size]:
                yield Prediction(file, probabilities.get(file), errors.get(file, ""))


def _check_classnames(classnames: tuple[str, ...]) -> None:
    if not classnames:
        raise UserError("this run was imported without class names; give those to choose from")
    first, *others = classnames
    if not others:
        raise UserError(f"{first!r} is one class; give at least two to choose from")
    if not all(name.strip() for name in classnames):
        raise UserError("one of the class names is empty")
