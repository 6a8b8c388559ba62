"""Transforms from a picture to a normalized tensor, for training and for evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.clip.frozen import FrozenCLIP

TORCHVISION = "torchvision"


@dataclass(frozen=True)
class Preprocessing:
    """Size, normalization and resizing of a backbone's images."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    squash: bool = False  # resize both sides, instead of cropping the centre
    backend: str = "pil"  # decodes and resizes: pil or torchvision

    @classmethod
    def of(cls, clip: FrozenCLIP, node: CfgNode) -> "Preprocessing":
        """Return the backbone's own preprocessing, except for what the node ``INPUT`` sets.

        Raises:
            UserError: ``INPUT.SIZE`` is not the size that the backbone reads.
        """
        given = tuple(node.SIZE)
        if given and given != clip.image_size:
            raise UserError(
                f"INPUT.SIZE is {given}, but {clip.name} reads {clip.image_size}; "
                "leave INPUT.SIZE out"
            )
        visual: Any = clip.model.visual
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


def is_random(names: tuple[str, ...]) -> bool:
    """Return whether the augmentation is random, so that a picture has many views."""
    return bool({"random_resized_crop", "random_flip"}.intersection(names))


def evaluation_transform(
    names: tuple[str, ...], preprocessing: Preprocessing
) -> Callable[[Image.Image], torch.Tensor]:
    """Return the backbone's own transform; CLIP's resizes the shorter side and crops the centre."""
    kinds = _kinds(preprocessing.backend)
    size = preprocessing.size
    interpolation = kinds.InterpolationMode(preprocessing.interpolation)
    if preprocessing.squash:
        steps = [kinds.Resize(size, interpolation)]
    else:
        steps = [kinds.Resize(max(size), interpolation), kinds.CenterCrop(size)]
    return _whole(steps, names, preprocessing)


def _kinds(backend: str) -> Any:
    """Return torchvision's module of this backend's transforms; it takes seconds to import."""
    if backend == TORCHVISION:
        from torchvision.transforms import v2

        return v2
    from torchvision import transforms

    return transforms


def _whole(steps: list[Callable], names: tuple[str, ...], preprocessing: Preprocessing) -> Callable:
    """Return the steps on a picture, followed by those that make it a normalized tensor."""
    from torchvision import transforms

    if preprocessing.backend == TORCHVISION:
        v2 = _kinds(TORCHVISION)
        whole = [v2.ToImage(), *steps, v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
    else:
        whole = [*steps, transforms.ToTensor()]
    if "normalize" in names:
        whole.append(transforms.Normalize(preprocessing.mean, preprocessing.std))
    return transforms.Compose(whole)
