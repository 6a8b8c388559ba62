"""Encoding within a limit of memory: in chunks whose activations are not kept.

Features and their gradients of any order are the same; more than one chunk costs another forward
pass for each of the gradients.
"""

import math

import torch
from torch import Tensor

from softprompt.core.prompts.base import Prompts
from softprompt.core.recompute import recomputed
from softprompt.core.towers.text import Sentences, TextTower, vectors_of

GIGABYTE = 2**30
# Numbers, in widths of the tower, that a token leaves in each block for the backward pass
# (measured), that it leaves for two of them, and that it needs at once where none follows.
KEPT, KEPT_TWICE, AT_ONCE = 18, 60, 12
CPU_AT_ONCE = 0.06  # gigabytes of images where nothing is kept; with more, a CPU is no faster


def encode_within(
    limit: float, encode, tower: TextTower, sentences: Sentences, prompts: Prompts
) -> Tensor:
    """Return ``encode(sentences, prompts)``, computed in as many chunks of classes as it takes.

    Args:
        limit: gigabytes that activations may take.
    """
    vectors = vectors_of(prompts)
    kept = AT_ONCE
    if _has_gradient(vectors):
        kept = _kept(tower.depth)
    tokens = tower.tokens_of(sentences, prompts)
    size = tokens * kept * tower.width * sentences.embedded.element_size()
    parts = _parts(len(sentences), size, limit)
    if len(parts) == 1:
        return encode(sentences, prompts)

    def encode_part(classes: slice, *vectors: Tensor) -> Tensor:
        own = [_of_classes(each, classes) for each in vectors]
        first = own.pop(0) if prompts.text is not None else None
        return encode(sentences[classes], Prompts(text=first, deep_text=tuple(own)))

    return torch.cat(
        [recomputed(lambda *v, part=part: encode_part(part, *v), *vectors) for part in parts],
        dim=-2,
    )


def encode_images_within(limit: float, encode, tower, images: Tensor, prompts: Prompts) -> Tensor:
    """Return ``encode(images, prompts)``, computed in as many chunks of images as it takes.

    Without a gradient nothing is kept: on a CPU a few images at a time, elsewhere all at once.

    Args:
        limit: gigabytes that activations may take.
        tower: an image tower; one that takes no prompts (depth 0) encodes all at once.
    """
    if not tower.depth:
        return encode(images, prompts)
    vectors = [each for each in (prompts.image, *prompts.deep_image) if each is not None]
    if _has_gradient([images, *vectors]):
        kept, run = _kept(tower.depth), recomputed
    else:
        kept, run = AT_ONCE, _once
        limit = CPU_AT_ONCE if images.device.type == "cpu" else math.inf
    prompted = max((v.shape[-2] for v in vectors if v.dim() > 1), default=0)  # others: refused
    tokens = len(images) * (tower.tokens + prompted)
    size = tokens * kept * tower.width * images.element_size()
    parts = _parts(len(images), size, limit)
    if len(parts) == 1:
        return encode(images, prompts)

    def encode_part(part: slice, images: Tensor, *vectors: Tensor) -> Tensor:
        own = [v[part] if v.dim() == 3 else v for v in vectors]  # by image, or shared
        first = own.pop(0) if prompts.image is not None else None
        return encode(images[part], Prompts(image=first, deep_image=tuple(own)))

    return torch.cat(
        [run(lambda *v, part=part: encode_part(part, *v), images, *vectors) for part in parts]
    )


def _once(function, *inputs: Tensor) -> Tensor:
    return function(*inputs)


def _has_gradient(inputs: list[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(each.requires_grad for each in inputs)


def _kept(depth: int) -> int:
    # Without fused attention there is to be a second derivative; see twice_differentiable().
    return depth * (KEPT if torch.backends.cuda.flash_sdp_enabled() else KEPT_TWICE)


def _parts(count: int, size: float, limit: float) -> list[slice]:
    """Cut ``count`` rows that take ``size`` bytes into parts that take ``limit`` gigabytes each."""
    chunks = max(1, min(math.ceil(size / (limit * GIGABYTE)), count))
    step = math.ceil(count / chunks)
    return [slice(start, start + step) for start in range(0, count, step)]


def _of_classes(vectors: Tensor, classes: slice) -> Tensor:
    """The part of text prompts that some classes need; see ``Prompts``."""
    by_class = vectors.dim() > 2 and vectors.shape[-3] > 1
    return vectors[..., classes, :, :] if by_class else vectors
