"""Encoding divided among processes: each takes some images or classes; see ``parallel.py``."""

from collections.abc import Callable

from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.clip.towers.text import Sentences, vectors_of
from softprompt.core.prompts.base import Prompts


def encode_images_sharded(encode: Callable, images: Tensor, prompts: Prompts) -> Tensor:
    """Return ``encode(images, prompts)``, of which this process computes its part."""
    total = len(images)
    if not parallel.is_sharded(total):
        return encode(images, prompts)
    vectors = [*([] if prompts.image is None else [prompts.image]), *prompts.deep_image]
    own = _own(vectors, [0 if each.dim() > 2 else None for each in vectors])
    first = None if prompts.image is None else own.pop(0)
    features = encode(images[parallel.shard(total)], Prompts(image=first, deep_image=tuple(own)))
    return parallel.all_gather(features, total)


def encode_text_sharded(encode: Callable, sentences: Sentences, prompts: Prompts) -> Tensor:
    """Return ``encode(sentences, prompts)``, of which this process computes its classes."""
    total = len(sentences)
    if not parallel.is_sharded(total):
        return encode(sentences, prompts)
    vectors = vectors_of(prompts)
    by_class = [each.dim() > 2 and each.shape[-3] > 1 for each in vectors]
    own = _own(vectors, [-3 if of_class else None for of_class in by_class])
    first = None if prompts.text is None else own.pop(0)
    features = encode(sentences[parallel.shard(total)], Prompts(text=first, deep_text=tuple(own)))
    return parallel.all_gather(features, total, dim=-2)


def _own(vectors: list[Tensor], dims: list[int | None]) -> list[Tensor]:
    """Return this process's part of each along its dimension, or all of it where that is None."""
    whole = iter(
        parallel.replicated([each for each, dim in zip(vectors, dims, strict=True) if dim is None])
    )
    return [
        next(whole) if dim is None else parallel.scatter(each, dim)
        for each, dim in zip(vectors, dims, strict=True)
    ]
