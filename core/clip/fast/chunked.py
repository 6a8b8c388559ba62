"""Encoding within a limit of memory: in chunks whose activations are not kept.

Features and their gradients of any order are the same; more than one chunk costs another forward
pass for each of the gradients.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from softprompt.core.clip.fast.recompute import recomputed
from softprompt.core.clip.towers.text import Sentences, TextTower
from softprompt.core.prompts.base import Prompts

GIGABYTE = 2**30
# Numbers, in widths of the tower, that a token leaves in each block for the backward pass
# (measured), that it leaves for two of them, and that it needs at once where none follows.
KEPT, KEPT_TWICE, AT_ONCE = 18, 60, 12
CPU_AT_ONCE = 0.06  # gigabytes where nothing is kept; with more, a CPU is no faster


def encode_text_chunked(
    limit: float, encode, tower: TextTower, sentences: Sentences, prompts: Prompts
) -> Tensor:
    """Return ``encode(sentences, prompts)``, computed in as many chunks as it takes.

    Prompts by image are cut into images first, each of which has a start of its own to its
    sentences, then into classes; other prompts into classes. Without a gradient nothing is kept: on
    a CPU the chunks are small whatever the limit.

    Args:
        limit: gigabytes that activations may take.
    """
    prompts = prompts.text_only()
    vectors = prompts.vectors
    if _has_gradient(vectors):
        kept, run = _kept(tower.depth), recomputed
    else:
        kept, run = AT_ONCE, _once
        limit = min(limit, CPU_AT_ONCE) if sentences.embedded.device.type == "cpu" else limit
    tokens = tower.tokens_of(sentences, prompts)
    size = tokens * kept * tower.width * sentences.embedded.element_size()
    by_image = _parts(prompts.batch or 1, size, limit)
    by_class = _parts(len(sentences), size / len(by_image), limit)
    if len(by_image) == len(by_class) == 1:
        return encode(sentences, prompts)

    def encode_part(images: slice, classes: slice, *vectors: Tensor) -> Tensor:
        own = prompts.with_vectors(vectors).of_images(images).of_classes(classes)
        return encode(sentences[classes], own)

    def encode_images(images: slice) -> Tensor:
        parts = [
            run(lambda *v, classes=classes: encode_part(images, classes, *v), *vectors)
            for classes in by_class
        ]
        return torch.cat(parts, dim=-2)

    return torch.cat([encode_images(images) for images in by_image])


def encode_images_chunked(limit: float, encode, tower, images: Tensor, prompts: Prompts) -> Tensor:
    """Return ``encode(images, prompts)``, computed in as many chunks of images as it takes.

    Without a gradient nothing is kept: on a CPU a few images at a time, elsewhere all at once.

    Args:
        limit: gigabytes that activations may take.
        tower: an image tower; one that takes no prompts (depth 0) encodes all at once.
    """
    if not tower.depth:
        return encode(images, prompts)
    prompts = prompts.image_only()
    vectors = prompts.vectors
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
        return encode(images[part], prompts.with_vectors(vectors).of_images(part))

    return torch.cat(
        [run(lambda *v, part=part: encode_part(part, *v), images, *vectors) for part in parts]
    )


def _once(function, *inputs: Tensor) -> Tensor:
    return function(*inputs)


def _has_gradient(inputs: Iterable[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(each.requires_grad for each in inputs)


def _kept(depth: int) -> int:
    # Without fused attention there is to be a second derivative; see twice_differentiable().
    return depth * (KEPT if torch.backends.cuda.flash_sdp_enabled() else KEPT_TWICE)


def _parts(count: int, size: float, limit: float) -> list[slice]:
    """Cut ``count`` rows that take ``size`` bytes into parts that take ``limit`` gigabytes each."""
    chunks = max(1, min(math.ceil(size / (limit * GIGABYTE)), count))
    step = math.ceil(count / chunks)
    return [slice(start, start + step) for start in range(0, count, step)]
