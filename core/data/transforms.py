"""From a picture to a normalized tensor: augmentation, and what the backbone was trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from softprompt.core.base.errors import UserError

TORCHVISION = "torchvision"


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its pictures."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    squash: bool = False  # resize both sides, instead of cutting a centre out
    backend: str = "pil"  # what decodes and resizes: pil or torchvision

    @classmethod
    def of(cls, clip, node) -> "Preprocessing":
        """The backbone's own, but for what ``INPUT`` sets.

        Raises:
            UserError: ``INPUT.SIZE`` is not the size that the backbone reads.
        """
        given = tuple(node.SIZE)
        if given and given != clip.image_size:
            raise UserError(
                f"INPUT.SIZE is {given}, but {clip.name} reads {clip.image_size}; "
                "leave INPUT.SIZE out"
            )
        visual = clip.model.visual
        own = getattr(visual, "preprocess_cfg", {})
        return cls(
            size=clip.image_size,
            mean=tuple(node.PIXEL_MEAN or visual.image_mean),
            std=tuple(node.PIXEL_STD or visual.image_std),
            interpolation=node.INTERPOLATION or own.get("interpolation", "bicubic"),
            squash=own.get("resize_mode") == "squash",
            backend=node.BACKEND,
        )


def training_transform(
    names: tuple[str, ...], preprocessing: Preprocessing, crop_scale: tuple[float, float]
) -> Callable[[Image.Image], torch.Tensor]:
    """Return the augmentation that ``INPUT.TRANSFORMS`` lists, in Dassl's fixed order.

    Args:
        crop_scale: the least and the largest share of the area that a random crop keeps.
    """
    kinds = _kinds(preprocessing.backend)
    size = preprocessing.size
    interpolation = kinds.InterpolationMode(preprocessing.interpolation)
    if "random_resized_crop" in names:
        steps = [kinds.RandomResizedCrop(size, crop_scale, interpolation=interpolation)]
    else:
        steps = [kinds.Resize(size, interpolation)]
    if "random_flip" in names:
        steps.append(kinds.RandomHorizontalFlip())
    return _whole(steps, names, preprocessing)


def draws(names: tuple[str, ...]) -> bool:
    """Whether the augmentation of these names draws, so that a picture has many views."""
    return bool({"random_resized_crop", "random_flip"}.intersection(names))


def evaluation_transform(
    names: tuple[str, ...], preprocessing: Preprocessing
) -> Callable[[Image.Image], torch.Tensor]:
    """What the backbone was trained on: for CLIP, the shorter side resized, then the centre."""
    kinds = _kinds(preprocessing.backend)
    size = preprocessing.size
    interpolation = kinds.InterpolationMode(preprocessing.interpolation)
    if preprocessing.squash:
        steps = [kinds.Resize(size, interpolation)]
    else:
        steps = [kinds.Resize(max(size), interpolation), kinds.CenterCrop(size)]
    return _whole(steps, names, preprocessing)


def _kinds(backend: str):
    """Return torchvision's module of this backend's transforms; it takes seconds to import."""
    if backend == TORCHVISION:
        from torchvision.transforms import v2

        return v2
    from torchvision import transforms

    return transforms


def _whole(steps: list[Callable], names: tuple[str, ...], preprocessing: Preprocessing) -> Callable:
    """The steps on a picture, and what makes it a normalized tensor."""
    from torchvision import transforms

    if preprocessing.backend == TORCHVISION:
        v2 = _kinds(TORCHVISION)
        found = [v2.ToImage(), *steps, v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
    else:
        found = [*steps, transforms.ToTensor()]
    if "normalize" in names:
        found.append(transforms.Normalize(preprocessing.mean, preprocessing.std))
    return transforms.Compose(found)
