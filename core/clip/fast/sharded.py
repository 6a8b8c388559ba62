"""Encoding divided among processes: each takes some images or classes; see ``parallel.py``."""

from collections.abc import Callable

from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.clip.towers.text import Sentences
from softprompt.core.prompts.base import Prompts, is_by_class


def encode_images_sharded(encode: Callable, images: Tensor, prompts: Prompts) -> Tensor:
    """Return ``encode(images, prompts)``, of which this process computes its images."""
    total = len(images)
    if not parallel.is_sharded(total):
        return encode(images, prompts)
    own = _own(prompts.image_only(), lambda vectors: 0 if vectors.dim() == 3 else None)
    return parallel.all_gather(encode(images[parallel.shard(total)], own), total)


def encode_text_sharded(encode: Callable, sentences: Sentences, prompts: Prompts) -> Tensor:
    """Return ``encode(sentences, prompts)``, of which this process computes its classes."""
    total = len(sentences)
    if not parallel.is_sharded(total):
        return encode(sentences, prompts)
    own = _own(prompts.text_only(), lambda vectors: -3 if is_by_class(vectors) else None)
    return parallel.all_gather(encode(sentences[parallel.shard(total)], own), total, dim=-2)


def _own(prompts: Prompts, dim_of: Callable[[Tensor], int | None]) -> Prompts:
    """Return this process's shard of each tensor along its dimension, or a replica without one."""
    vectors = prompts.vectors
    replicas = iter(parallel.replicated([each for each in vectors if dim_of(each) is None]))
    return prompts.map(
        lambda each: (
            next(replicas) if (dim := dim_of(each)) is None else parallel.scatter(each, dim)
        )
    )
