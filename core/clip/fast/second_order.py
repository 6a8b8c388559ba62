"""Attention, layer norm and SiLU whose second derivatives take few operations.

torch has no second derivative of fused attention, and composes those of the others from dozens of
small operations. Here each is written out, which pays where an operation costs more than what it
computes, on a GPU. Only passes under ``twice_differentiable()`` take them.

Exact up to rounding, for derivatives of first and second order; a third raises an error. Slow
counterpart: torch's own functions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core.clip.gradients import is_twice_differentiable
from softprompt.core.clip.towers.block import Linear, attend
from softprompt.core.clip.towers.text import TextTower
from softprompt.core.clip.towers.vision import NativeVisionTower, VisionTower
from softprompt.core.clip.towers.walk import at_least_single


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
        _check_last()
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
        _check_last()
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
        _check_last()
        gradient, x = ctx.saved_tensors
        s = torch.sigmoid(x)
        factor = torch.sub(x, F.silu(x), alpha=2) + 2
        by_x = torch.ops.aten.sigmoid_backward(c * gradient, s) * factor
        return torch.ops.aten.silu_backward(c, x), by_x


def attend_twice(
    parts: Sequence[Tensor], mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Return ``attend(parts, mask, causal)``; a mask is given where it is causal, too."""
    if not is_twice_differentiable():
        return attend(parts, mask, causal)
    rows, _, _, heads, _ = parts[0].shape
    if mask is not None:
        mask = at_least_single(mask)
        mask = mask.expand(rows, heads, -1, -1).flatten(0, 1) if mask.dim() == 4 else mask
    # torch's own decomposed attention computes in fp32, too.
    attended = _Attention.apply(mask, *map(at_least_single, parts))
    return attended.to(parts[0].dtype)


class _Attention(torch.autograd.Function):
    """``p v`` with ``p = softmax(c q k^T + mask)``, where ``c`` is one over the width's root."""

    @staticmethod
    def forward(ctx, mask, *parts):
        q, k, v = (each for part in parts for each in _by_head(part))  # (n, tokens, width) each
        with torch.autocast(q.device.type, enabled=False):
            if mask is None:
                scores = _scaled(q, k.mT, _scale(q))
            else:
                scores = torch.baddbmm(mask, q, k.mT, alpha=_scale(q))
            p = torch.softmax(scores, dim=-1)
            attended = torch.bmm(p, v)
        ctx.save_for_backward(q, k, v, p, *parts)
        return attended.unflatten(0, (parts[0].shape[0], -1)).transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx, *gradients):
        return None, *_AttentionGradient.apply(*gradients, *ctx.saved_tensors)


class _AttentionGradient(torch.autograd.Function):
    """Its gradient: ``c s k``, ``c s^T q`` and ``p^T g``, with ``s = p (g v^T - rows' sums)``.

    ``q``, ``k``, ``v`` are copies of what is in ``parts``, by head.
    """

    @staticmethod
    def forward(ctx, g, q, k, v, p, *parts):
        heads, width = parts[0].shape[-2:]
        (g,) = _by_head(g.unflatten(-1, (1, heads, width)))
        s, c = torch.ops.aten._softmax_backward_data(torch.bmm(g, v.mT), p, -1, p.dtype), _scale(q)
        ctx.save_for_backward(g, q, k, v, p, s)
        ctx.shapes = [part.shape for part in parts]
        return _joined([_scaled(s, k, c), _scaled(s.mT, q, c), torch.bmm(p.mT, g)], ctx.shapes)

    @staticmethod
    def backward(ctx, *cotangents):
        a, b, e = (each for part in cotangents for each in _by_head(part))  # by q, k and v
        _check_last()
        g, q, k, v, p, s = ctx.saved_tensors
        c = _scale(q)
        u = torch.baddbmm(torch.bmm(a, k.mT), q, b.mT, beta=c, alpha=c)  # by s
        u = u - (p * u).sum(-1, keepdim=True)
        by_g_v = p * u
        # By p, times p, up to a multiple of p in each row, which the scores' gradient is free of.
        w = torch.addcmul(p * torch.bmm(g, e.mT), u, s)
        w = torch.addcmul(w, p, w.sum(-1, keepdim=True), value=-1)  # by the scores
        by_q = torch.baddbmm(torch.bmm(w, k), s, b, beta=c, alpha=c)
        by_k = torch.baddbmm(torch.bmm(w.mT, q), s.mT, a, beta=c, alpha=c)
        by_v = torch.bmm(by_g_v.mT, g)
        by_g = torch.baddbmm(torch.bmm(p, e), by_g_v, v)
        by_g = by_g.unflatten(0, (ctx.shapes[0][0], -1)).transpose(1, 2).flatten(2)
        return by_g, None, None, None, None, *_joined([by_q, by_k, by_v], ctx.shapes)


def _by_head(part: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors ``(rows and heads, tokens, width)`` of ``(rows, tokens, n, heads, width)``

    in one copy.
    """
    return part.permute(2, 0, 3, 1, 4).flatten(1, 2).contiguous().unbind()


def _joined(found: Sequence[Tensor], shapes: Sequence[torch.Size]) -> tuple[Tensor, ...]:
    """Return ``_by_head``'s tensors in parts of some shapes again."""
    each = iter(found)
    return tuple(
        torch.stack(
            [next(each).unflatten(0, (shape[0], -1)).transpose(1, 2) for _ in range(shape[2])], 2
        )
        for shape in shapes
    )


def _scale(q: Tensor) -> float:
    return q.shape[-1] ** -0.5


def _scaled(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Return ``scale a b`` in one operation."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


def _check_last() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "on a GPU a third derivative is not available; construct FrozenCLIP with "
            "launch_bound=False for it"
        )
