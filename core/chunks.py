"""Encoding many classes within a limit of memory: in chunks whose activations are not kept."""

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


def encode_within(
    limit: float, encode, tower: TextTower, sentences: Sentences, prompts: Prompts
) -> Tensor:
    """Return ``encode(sentences, prompts)``, computed in as many chunks of classes as it takes.

    Features and their gradients of any order are the same; more than one chunk costs another
    forward pass for each of the gradients.

    Args:
        limit: gigabytes that activations may take.
    """
    vectors = vectors_of(prompts)
    kept = AT_ONCE
    if torch.is_grad_enabled() and any(each.requires_grad for each in vectors):
        # Without fused attention there is to be a second derivative; see twice_differentiable().
        kept = tower.depth * (KEPT if torch.backends.cuda.flash_sdp_enabled() else KEPT_TWICE)
    tokens = tower.tokens_of(sentences, prompts)
    size = tokens * kept * tower.width * sentences.embedded.element_size()
    chunks = min(math.ceil(size / (limit * GIGABYTE)), len(sentences))
    if chunks <= 1:
        return encode(sentences, prompts)

    def encode_part(classes: slice, *vectors: Tensor) -> Tensor:
        own = [_of_classes(each, classes) for each in vectors]
        first = own.pop(0) if prompts.text is not None else None
        return encode(sentences[classes], Prompts(text=first, deep_text=tuple(own)))

    step = math.ceil(len(sentences) / chunks)
    parts = [slice(start, start + step) for start in range(0, len(sentences), step)]
    return torch.cat(
        [recomputed(lambda *v, part=part: encode_part(part, *v), *vectors) for part in parts],
        dim=-2,
    )


def _of_classes(vectors: Tensor, classes: slice) -> Tensor:
    """The part of text prompts that some classes need; see ``Prompts``."""
    by_class = vectors.dim() > 2 and vectors.shape[-3] > 1
    return vectors[..., classes, :, :] if by_class else vectors
