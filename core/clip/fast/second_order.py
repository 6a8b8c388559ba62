"""Layer norm, SiLU and, beside, attention whose second derivatives take few operations.

torch has no second derivative of fused attention, and composes those of the others from dozens of
small operations. Here each is written out, which pays where an operation costs more than what it
computes, on a GPU. Only passes under ``twice_differentiable()`` take them.

Exact up to rounding, for derivatives of first and second order; a third raises an error. Slow
counterpart: torch's own functions.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core.clip.fast.second_order_attention import attend_twice, check_last
from softprompt.core.clip.gradients import is_twice_differentiable
from softprompt.core.clip.towers.block import Linear
from softprompt.core.clip.towers.text import TextTower
from softprompt.core.clip.towers.vision import NativeVisionTower, VisionTower


def use_second_order(text: TextTower, image: VisionTower) -> None:
    """Let two towers compute what is differentiated twice by these functions."""
    text.final_norm = Norm(text.final_norm)
    if isinstance(image, NativeVisionTower):
        image.first_norm, image.last_norm = Norm(image.first_norm), Norm(image.last_norm)
    for block in [*text.parts, *image.parts]:
        block.attend = attend_twice
        block.norm_1 = Norm(block.norm_1)
        block.norm_2 = Norm(block.norm_2)
        if block.activation is F.silu:
            block.activation = silu
        if block.share != 1:  # a copy of the weights saves an operation in each pass backward
            block.down = Linear(block.down.weight * block.share, block.down.bias * block.share)
            block.share = 1.0


class Norm:
    """A layer norm, which is computed by ``_Norm`` where it is differentiated twice."""

    def __init__(self, norm: Callable[[Tensor], Tensor]):
        """Wrap a module ``nn.LayerNorm`` or a ``partial`` of ``F.layer_norm``."""
        self.norm = norm
        found: Any = SimpleNamespace(**norm.keywords) if isinstance(norm, partial) else norm
        self.weight: Tensor | None = getattr(found, "weight", None)
        self.bias: Tensor | None = getattr(found, "bias", None)
        self.minus = None if self.weight is None else torch.full_like(self.weight, -1)
        self.eps: float = getattr(found, "eps", 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        known = self.weight is not None and self.bias is not None and x.dtype == self.weight.dtype
        if known and is_twice_differentiable():
            return _Norm.apply(x, self.weight, self.bias, self.minus, self.eps)
        return self.norm(x)


class _Norm(torch.autograd.Function):
    """A layer norm over the last dimension, of fixed weight and bias."""

    @staticmethod
    def forward(ctx, x, weight, bias, minus, eps):
        y, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
        ctx.save_for_backward(x, mean, rstd, weight, minus)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, *gradients):
        return _NormGradient.apply(*gradients, *ctx.saved_tensors, ctx.eps), None, None, None, None


class _NormGradient(torch.autograd.Function):
    """The gradient of a layer norm, ``rstd (h - mean(h) - n mean(h n))``.

    Here ``h`` is the incoming gradient times the weight, and ``n`` the input with mean 0, length 1.
    """

    @staticmethod
    def forward(ctx, gradient, x, mean, rstd, weight, minus, eps):
        found = _norm_gradient(gradient, x, mean, rstd, weight)
        ctx.save_for_backward(gradient, x, mean, rstd, weight, minus, found)
        ctx.eps = eps
        return found

    @staticmethod
    def backward(ctx, *cotangents):
        (c,) = cotangents
        check_last()
        gradient, x, mean, rstd, weight, minus, found = ctx.saved_tensors
        n = F.layer_norm(x, x.shape[-1:], minus, eps=ctx.eps)  # the negative
        same = _norm_gradient(c, x, mean, rstd, None)  # the map is symmetric
        by_x = _turned(c, gradient * weight, n, same, found, rstd)
        return same * weight, by_x, None, None, None, None, None


def _norm_gradient(
    gradient: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None
) -> Tensor:
    needed = [True, False, False]
    found = torch.ops.aten.native_layer_norm_backward(
        gradient, x, x.shape[-1:], mean, rstd, weight, None, needed
    )
    return found[0]


def _turned(c: Tensor, h: Tensor, n: Tensor, same: Tensor, found: Tensor, by: Tensor) -> Tensor:
    """Return the gradient by ``n`` of ``c`` times what of ``h`` is orthogonal to ``n``.

    Args:
        c, h: the cotangent and the incoming gradient, ``(..., width)``.
        n: a direction, the negative of it.
        same, found: the outcome for ``c`` and that for ``h``.
        by: a factor, ``(..., 1)``, of the products' means.
    """
    means = (torch.stack([c, h, c]) * torch.stack([found, n, n])).mean(-1, keepdim=True)
    return (torch.stack([n, same, found]) * (means * by)).sum(0)


def unit(x: Tensor) -> Tensor:
    """Return ``F.normalize(x, dim=-1)`` of vectors that are no zeros."""
    return _Unit.apply(x)


class _Unit(torch.autograd.Function):
    """``x`` divided by its length."""

    @staticmethod
    def forward(ctx, x):
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        y = x / length
        ctx.save_for_backward(x, y, length)
        return y

    @staticmethod
    def backward(ctx, *gradients):
        return _UnitGradient.apply(*gradients, *ctx.saved_tensors)


class _UnitGradient(torch.autograd.Function):
    """Its gradient, what of it is orthogonal to ``y``, divided by the length."""

    @staticmethod
    def forward(ctx, gradient, x, y, length):
        found = _orthogonal(gradient, y, length)
        ctx.save_for_backward(gradient, y, length, found)
        return found

    @staticmethod
    def backward(ctx, *cotangents):
        (c,) = cotangents
        check_last()
        gradient, y, length, found = ctx.saved_tensors
        same = _orthogonal(c, y, length)  # the map is symmetric
        return same, _turned(c, gradient, -y, same, found, y.shape[-1] / length), None, None


def _orthogonal(gradient: Tensor, y: Tensor, length: Tensor) -> Tensor:
    along = (gradient * y).sum(-1, keepdim=True)
    return torch.addcmul(gradient, y, along, value=-1) / length


def silu(x: Tensor) -> Tensor:
    """Return ``x sigmoid(x)``."""
    return _SiLU.apply(x) if is_twice_differentiable() else F.silu(x)


class _SiLU(torch.autograd.Function):
    """``x s`` with ``s = sigmoid(x)``."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return F.silu(x)

    @staticmethod
    def backward(ctx, *gradients):
        return _SiLUGradient.apply(*gradients, *ctx.saved_tensors)


class _SiLUGradient(torch.autograd.Function):
    """Its first derivative ``s (1 + x (1 - s))``; the second is ``s (1 - s) (2 + x (1 - 2 s))``."""

    @staticmethod
    def forward(ctx, gradient, x):
        ctx.save_for_backward(gradient, x)
        return torch.ops.aten.silu_backward(gradient, x)

    @staticmethod
    def backward(ctx, *cotangents):
        (c,) = cotangents
        check_last()
        gradient, x = ctx.saved_tensors
        s = torch.sigmoid(x)
        factor = torch.sub(x, F.silu(x), alpha=2) + 2
        by_x = torch.ops.aten.sigmoid_backward(c * gradient, s) * factor
        return torch.ops.aten.silu_backward(c, x), by_x
