"""Classify pictures by the prompts of a run, with its class names or any others."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.clip.build import configured_clip, warnings_of
from softprompt.core.clip.prompted import PromptedCLIP, check_classes
from softprompt.core.config.load import load_config
from softprompt.core.config.saved import SavedSettings
from softprompt.core.data.decoding import Decoding, decode
from softprompt.core.data.opening import readable_errors
from softprompt.core.data.transforms import Preprocessing, evaluation_transform
from softprompt.core.engine import cautions, checkpoint
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.evaluate import Classifier, check_logits
from softprompt.core.engine.prompt_file import load_prompts

Picture = str | Path | Image.Image | Tensor


class Prediction(NamedTuple):
    """The probabilities of the classes for one picture."""

    file: str  # its path, or "number 0", "number 1" ... if it comes from no file
    probabilities: Tensor | None  # (classes,), on the CPU; None: the picture cannot be read
    error: str = ""  # why not


class Predictor:
    """A classifier of pictures by the prompts of a run, which needs no dataset."""

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
        tensors, header = load_prompts(file)
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
        self.decoding = Decoding.of(cfg.INPUT)
        self.transform = evaluation_transform(cfg.INPUT.TRANSFORMS, preprocessing)
        self.warnings = warnings_of(self.clip, self.classnames)
        self.warnings += cautions.of_names(self.classnames)
        self.batch_size = cfg.DATALOADER.TEST.BATCH_SIZE

    def __call__(self, pictures: Picture | Iterable[Picture]) -> Iterator[Prediction]:
        """Return an iterator over a prediction for each picture, in their order.

        Args:
            pictures: one or several: paths of files, which may not exist; PIL images; tensors
                ``(3, height, width)`` of uint8 values or of fractions from 0 to 1. A tensor with a
                fourth dimension in front is a batch of them.

        Raises:
            UserError: something else is given.
        """
        alone = isinstance(pictures, str | Path | Image.Image | Tensor)
        if isinstance(pictures, Tensor) and pictures.dim() == 4:
            alone = False
        if not alone and not isinstance(pictures, Iterable):
            raise UserError(_wrong(pictures))
        several: list[Any] = [pictures] if alone else list(pictures)  # type: ignore[arg-type]
        for picture in several:
            _check_picture(picture)
        return self._predictions(several)

    @torch.no_grad()
    def _predictions(self, pictures: list[Picture]) -> Iterator[Prediction]:
        classifier = Classifier(self.model)
        for start in range(0, len(pictures), self.batch_size):
            part = range(start, min(start + self.batch_size, len(pictures)))
            names = {i: _name(pictures[i], i) for i in part}
            images: dict[int, Tensor] = {}
            errors: dict[int, str] = {}
            for i in part:
                try:
                    images[i] = self.transform(self._rgb(pictures[i], names[i]))
                except UserError as error:
                    errors[i] = str(error)
            probabilities: dict[int, Tensor] = {}
            if images:
                batch = torch.stack(list(images.values())).to(self.clip.device)
                logits = classifier(batch)
                check_logits(logits, "these prompts")
                rows = logits.softmax(dim=-1).cpu()
                probabilities = dict(zip(images, rows, strict=True))
            for i in part:
                yield Prediction(names[i], probabilities.get(i), errors.get(i, ""))

    def _rgb(self, picture: Picture, name: str) -> Image.Image:
        if isinstance(picture, Tensor):
            from torchvision.transforms.functional import to_pil_image

            return to_pil_image(picture.cpu())
        if isinstance(picture, Image.Image):
            with readable_errors(name):  # its file may be read only now
                return self.decoding.rgb(picture, name)
        return decode(Path(picture), name, self.decoding)


def _name(picture: Picture, index: int) -> str:
    """Return the path of a picture's file, or its number if it comes from none."""
    if isinstance(picture, str | Path):
        return str(picture)
    return str(getattr(picture, "filename", "")) or f"number {index}"


def _check_picture(picture: Any) -> None:
    """Raise ``UserError`` for what is neither a path, nor a PIL image, nor a tensor of one."""
    if not isinstance(picture, str | Path | Image.Image | Tensor):
        raise UserError(_wrong(picture))
    if not isinstance(picture, Tensor):
        return
    if picture.dim() != 3 or len(picture) != 3 or not picture.numel():
        raise UserError(
            f"a tensor of the shape {tuple(picture.shape)} is no picture; give (3, height, width)"
        )
    if picture.dtype == torch.uint8:
        return
    if not picture.is_floating_point() or not (0 <= picture.min() and picture.max() <= 1):
        raise UserError(
            f"a tensor of {picture.dtype} from {picture.min():g} to {picture.max():g} is no "
            "picture; give uint8 values, or fractions from 0 to 1 that are not normalized yet"
        )


def _wrong(given: object) -> str:
    hint = (
        "; PIL.Image.fromarray makes a picture of an array" if hasattr(given, "__array__") else ""
    )
    return (
        f"{type(given).__name__} is no picture; give the path of a file, a PIL image, a tensor, or "
        f"several of these{hint}"
    )


def _check_classnames(classnames: tuple[str, ...]) -> None:
    if not classnames:
        raise UserError("this run was imported without class names; give those to choose from")
    first, *others = classnames
    if not others:
        raise UserError(f"{first!r} is one class; give at least two to choose from")
    if not all(name.strip() for name in classnames):
        raise UserError("one of the class names is empty")
