"""Encoding divided among processes: each encodes its shard of images or classes.

Exact up to rounding, gradients of every order included; see ``core/base/parallel.py``. Slow
counterpart: one process, which encodes all of them.
"""

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.clip.towers.text import Sentences
from softprompt.core.prompts.base import Prompts, is_by_class

S = TypeVar("S", bound=Sentences)


def applies(total: int) -> bool:
    """Whether so many images or classes are divided."""
    return parallel.is_sharded(total)


def encode_images_sharded(
    encode: Callable[[Tensor, Prompts], Tensor], images: Tensor, prompts: Prompts
) -> Tensor:
    """Return ``encode(images, prompts)``, of which this process computes its images."""
    total = len(images)
    if not applies(total):
        return encode(images, prompts)
    own = _own(prompts.image_only(), lambda vectors: 0 if vectors.dim() == 3 else None)
    return parallel.all_gather(encode(images[parallel.shard(total)], own), total)


def encode_text_sharded(
    encode: Callable[[S, Prompts], Tensor], sentences: S, prompts: Prompts
) -> Tensor:
    """Return ``encode(sentences, prompts)``, of which this process computes its classes."""
    total = len(sentences)
    if not applies(total):
        return encode(sentences, prompts)
    own = _own(prompts.text_only(), lambda vectors: -3 if is_by_class(vectors) else None)
    return parallel.all_gather(encode(sentences[parallel.shard(total)], own), total, dim=-2)


def _own(prompts: Prompts, dim_of: Callable[[Tensor], int | None]) -> Prompts:
    """Return this process's shard of each tensor along its dimension, or a replica without one."""
    replicas = iter(parallel.replicated([v for v in prompts.vectors if dim_of(v) is None]))

    def own(vectors: Tensor) -> Tensor:
        dim = dim_of(vectors)
        return next(replicas) if dim is None else parallel.scatter(vectors, dim)

    return prompts.map(own)
