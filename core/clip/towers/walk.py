"""The walk through an image tower's blocks that all promptable towers share."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.prompts.base import Prompts

Layer = Callable[[Tensor], Tensor]


def walk(
    x: Tensor,
    blocks: Iterable[Layer],
    prompts: Prompts,
    norm: Layer,
    call: Callable[[Layer, Tensor], Tensor] = lambda block, x: block(x),
) -> Tensor:
    """Return the image's tokens ``(batch, tokens, width)`` after the blocks, prompts cut off again.

    The prompt is appended to the image's tokens and cut off before they are pooled, so class token,
    average and attention pooling read just the tokens that they read without it.

    Args:
        x: the image's tokens as the first block gets them, ``(batch, tokens, width)``.
        norm: the last layer before the blocks. It works on each token alone, so applying it to the
            prompt by itself is exact.
        call: runs one block.

    Raises:
        UserError: the prompts do not fit the tower.
    """
    blocks = list(blocks)
    _check(prompts, len(blocks), x)
    # In fp16 the second derivative of a norm overflows where a prompt is as small as at its start.
    x = at_least_single(x)
    tokens = x.shape[1]
    if prompts.image is not None:
        x = _appended(x, tokens, norm(prompts.image))
    for index, block in enumerate(blocks):
        if 0 < index <= len(prompts.deep_image):
            x = _appended(x, tokens, prompts.deep_image[index - 1])
        x = call(block, x)
    return x[:, :tokens]


def at_least_single(x: Tensor) -> Tensor:
    """Return ``x`` in fp32 if its precision is lower."""
    return x.float() if x.dtype.itemsize < 4 else x


def _check(prompts: Prompts, depth: int, x: Tensor) -> None:
    if len(prompts.deep_image) >= depth:
        raise UserError(
            f"{len(prompts.deep_image)} deep image prompts, but this backbone's image tower has "
            f"{depth - 1} blocks after the first"
        )
    for vectors in prompts.image_vectors:
        fits = vectors.dim() == 2 or vectors.dim() == 3 and len(vectors) == len(x)
        if not fits or vectors.shape[-1] != x.shape[2]:
            raise UserError(
                f"an image prompt of shape {tuple(vectors.shape)} fits neither (n, {x.shape[2]}) "
                f"nor (batch {len(x)}, n, {x.shape[2]})"
            )


def _appended(x: Tensor, tokens: int, vectors: Tensor) -> Tensor:
    """Return the first ``tokens`` of ``x``, followed by the prompt."""
    return torch.cat([x[:, :tokens], vectors.to(x.dtype).expand(len(x), -1, -1)], dim=1)
