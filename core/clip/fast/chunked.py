"""Encoding within a limit of memory: in chunks, whose activations are recomputed for gradients.

Exact up to rounding, gradients of every order included; more than one chunk costs another forward
pass for each of the gradients. Slow counterpart: the same encoding at once (``limit`` infinite).
"""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from torch import Tensor

from softprompt.core.base.files import GIGABYTE
from softprompt.core.clip.fast.ragged import RaggedSentences, tokens_of
from softprompt.core.clip.gradients import is_twice_differentiable, twice_differentiable
from softprompt.core.clip.towers.text import TextTower
from softprompt.core.clip.towers.vision import VisionTower
from softprompt.core.prompts.base import Prompts

# Numbers per token and unit of width that stay alive (measured): in each block for a backward pass,
# in each block for a double backward pass, and in all where no gradient follows.
ACTIVATIONS_BACKWARD = 18
ACTIVATIONS_DOUBLE_BACKWARD = 60
ACTIVATIONS_FORWARD = 12
CPU_FORWARD_LIMIT = 0.06  # gigabytes where no gradient follows; with more, a CPU is no faster

EncodeText = Callable[[RaggedSentences, Prompts], Tensor]
EncodeImages = Callable[[Tensor, Prompts], Tensor]


def applies(*cuts: list[slice]) -> bool:
    """Whether cuts as of ``cut_text`` or ``cut_images`` make more than one chunk."""
    return any(len(parts) > 1 for parts in cuts)


def encode_text_chunked(
    limit: float,
    encode: EncodeText,
    tower: TextTower,
    sentences: RaggedSentences,
    prompts: Prompts,
) -> Tensor:
    """Return ``encode(sentences, prompts)``, computed in as many chunks as the limit asks for.

    Args:
        limit: gigabytes that activations may take.
    """
    prompts = prompts.text_only()
    by_image, by_class = cut_text(limit, tower, sentences, prompts)
    if not applies(by_image, by_class):
        return encode(sentences, prompts)
    run = recomputed if _has_gradient(prompts.vectors) else _once

    def encode_part(images: slice, classes: slice, *vectors: Tensor) -> Tensor:
        own = prompts.with_vectors(vectors).of_images(images).of_classes(classes)
        return encode(sentences[classes], own)

    def encode_images(images: slice) -> Tensor:
        parts = [
            run(lambda *v, classes=classes: encode_part(images, classes, *v), *prompts.vectors)
            for classes in by_class
        ]
        return torch.cat(parts, dim=-2)

    return torch.cat([encode_images(images) for images in by_image])


def cut_text(
    limit: float, tower: TextTower, sentences: RaggedSentences, prompts: Prompts
) -> tuple[list[slice], list[slice]]:
    """Return the parts that a text is encoded in, of images and of classes.

    Prompts by image are cut into images first, each of which has a start of its own to its
    sentences, then into classes; other prompts into classes.
    """
    if _has_gradient(prompts.text_vectors):
        floats = _for_gradients(tower.depth)
    else:
        floats = ACTIVATIONS_FORWARD
        limit = limit if tower.launch_bound else min(limit, CPU_FORWARD_LIMIT)
    tokens = tokens_of(tower, sentences, prompts)
    size = tokens * floats * tower.width * sentences.embedded.element_size()
    by_image = _parts(prompts.batch or 1, size, limit)
    return by_image, _parts(len(sentences), size / len(by_image), limit)


def encode_images_chunked(
    limit: float, encode: EncodeImages, tower: VisionTower, images: Tensor, prompts: Prompts
) -> Tensor:
    """Return ``encode(images, prompts)``, computed in as many chunks as the limit asks for.

    Args:
        limit: gigabytes that activations may take.
    """
    prompts = prompts.image_only()
    parts = cut_images(limit, tower, images, prompts)
    if not applies(parts):
        return encode(images, prompts)
    run = recomputed if _has_gradient([images, *prompts.vectors]) else _once

    def encode_part(part: slice, images: Tensor, *vectors: Tensor) -> Tensor:
        return encode(images[part], prompts.with_vectors(vectors).of_images(part))

    given = (images, *prompts.vectors)
    return torch.cat(
        [run(lambda *each, part=part: encode_part(part, *each), *given) for part in parts]
    )


def cut_images(limit: float, tower: VisionTower, images: Tensor, prompts: Prompts) -> list[slice]:
    """Return the parts that a batch of images is encoded in.

    Where no gradient follows, they are a few images on a CPU, and all at once elsewhere. A tower
    that takes no prompts encodes all at once.
    """
    if not tower.depth:
        return [slice(0, len(images))]
    vectors = prompts.image_vectors
    if _has_gradient([images, *vectors]):
        floats = _for_gradients(tower.depth)
    else:
        floats = ACTIVATIONS_FORWARD
        limit = math.inf if tower.launch_bound else CPU_FORWARD_LIMIT
    prompted = max((v.shape[-2] for v in vectors if v.dim() > 1), default=0)  # others: refused
    tokens = len(images) * (tower.tokens + prompted)
    return _parts(len(images), tokens * floats * tower.width * images.element_size(), limit)


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``function(*inputs)``, which is run again whenever its gradient is needed.

    The gradient is such a function too, so derivatives of any order keep no more than inputs and
    cotangents. ``function`` must give the same each time and depend on no other trained tensor.
    """
    return _Recomputed.apply(lambda *given: (function(*given),), *inputs)[0]


class _Recomputed(torch.autograd.Function):
    """A function from several tensors to several tensors."""

    @staticmethod
    def forward(ctx, function, *inputs):
        ctx.function = function
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx, *cotangents):
        needed = ctx.needs_input_grad[1:]
        vjp = _vjp(ctx.function, needed)
        found = iter(_Recomputed.apply(vjp, *ctx.saved_tensors, *cotangents))
        return None, *(next(found) if need else None for need in needed)


def _vjp(function: Callable[..., tuple[Tensor, ...]], needed: tuple[bool, ...]) -> Callable:
    """Return the function of inputs and cotangents that gives the needed inputs' gradients."""

    def vjp(*given: Tensor) -> tuple[Tensor, ...]:
        again = torch.is_grad_enabled()  # these gradients are themselves being differentiated
        inputs, cotangents = list(given[: len(needed)]), given[len(needed) :]
        for index, need in enumerate(needed):
            if not again or need and not inputs[index].requires_grad:
                inputs[index] = inputs[index].detach().requires_grad_(need)
        wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
        with torch.enable_grad(), twice_differentiable() if again else nullcontext():
            outputs = function(*inputs)
            return torch.autograd.grad(
                outputs, wanted, cotangents, create_graph=again, materialize_grads=True
            )

    return vjp


def _once(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return function(*inputs)


def _has_gradient(inputs: Iterable[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(each.requires_grad for each in inputs)


def _for_gradients(depth: int) -> int:
    """Return the activations per token and unit of width that the backward passes to come need."""
    twice = is_twice_differentiable()
    return depth * (ACTIVATIONS_DOUBLE_BACKWARD if twice else ACTIVATIONS_BACKWARD)


def _parts(count: int, size: float, limit: float) -> list[slice]:
    """Cut ``count`` rows that take ``size`` bytes into parts that take ``limit`` gigabytes each."""
    chunks = max(1, min(math.ceil(size / (limit * GIGABYTE)), count))
    step = math.ceil(count / chunks)
    return [slice(start, start + step) for start in range(0, count, step)]
