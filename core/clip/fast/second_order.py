"""Attention, layer norm and SiLU whose second derivatives take few operations.

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

from softprompt.core.clip.gradients import is_twice_differentiable
from softprompt.core.clip.towers.block import attend
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


class Norm:
    """A layer norm, which is computed by ``_Norm`` where it is differentiated twice."""

    def __init__(self, norm: Callable[[Tensor], Tensor]):
        """Wrap a module ``nn.LayerNorm`` or a ``partial`` of ``F.layer_norm``."""
        self.norm = norm
        found: Any = SimpleNamespace(**norm.keywords) if isinstance(norm, partial) else norm
        self.weight: Tensor | None = getattr(found, "weight", None)
        self.bias: Tensor | None = getattr(found, "bias", None)
        self.eps: float = getattr(found, "eps", 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        known = self.weight is not None and self.bias is not None and x.dtype == self.weight.dtype
        if known and is_twice_differentiable():
            return _Norm.apply(x, self.weight, self.bias, self.eps)
        return self.norm(x)


class _Norm(torch.autograd.Function):
    """A layer norm over the last dimension, of fixed weight and bias."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        y, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
        ctx.save_for_backward(x, mean, rstd, weight)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, *gradients):
        return _NormGradient.apply(*gradients, *ctx.saved_tensors, ctx.eps), None, None, None


class _NormGradient(torch.autograd.Function):
    """The gradient of a layer norm, ``rstd (h - mean(h) - n mean(h n))``.

    Here ``h`` is the incoming gradient times the weight, and ``n`` the input with mean 0, length 1.
    """

    @staticmethod
    def forward(ctx, gradient, x, mean, rstd, weight, eps):
        found = _norm_gradient(gradient, x, mean, rstd, weight)
        ctx.save_for_backward(gradient, x, mean, rstd, weight, found)
        ctx.eps = eps
        return found

    @staticmethod
    def backward(ctx, *cotangents):
        (c,) = cotangents
        _check_last()
        gradient, x, mean, rstd, weight, found = ctx.saved_tensors
        n = F.layer_norm(x, x.shape[-1:], eps=ctx.eps)
        h = gradient * weight
        same = _norm_gradient(c.contiguous(), x, mean, rstd, None)  # the map is symmetric
        # The three terms differ in which of these is a factor, and which two are averaged over.
        means = (torch.stack([c, h, c]) * torch.stack([found, n, n])).mean(-1, keepdim=True)
        by_x = (torch.stack([n, same, found]) * means).sum(0) * -rstd
        return same * weight, by_x, None, None, None, None


def _norm_gradient(
    gradient: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None
) -> Tensor:
    needed = [True, False, False]
    found = torch.ops.aten.native_layer_norm_backward(
        gradient, x, x.shape[-1:], mean, rstd, weight, None, needed
    )
    return found[0]


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
        factor = 2 - x * torch.tanh(x / 2)  # 1 - 2 s = -tanh(x / 2)
        by_x = torch.ops.aten.sigmoid_backward(c * gradient, s) * factor
        return torch.ops.aten.silu_backward(c, x), by_x


def attend_twice(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Return ``attend(q, k, v, mask, causal)``; a mask is given where it is causal, too."""
    if not is_twice_differentiable():
        return attend(q, k, v, mask, causal)
    rows, _, heads, _ = q.shape
    parts = [each.transpose(1, 2) for each in (q, k, v)]  # (rows, heads, tokens, head width)
    if q.shape == k.shape:
        parts = torch.stack(parts).unbind()  # one copy, not three
    if mask is not None and mask.dim() == 4:
        mask = mask.to(q.dtype).expand(rows, heads, -1, -1).flatten(0, 1)
    # torch's own decomposed attention computes in fp32, too.
    parts = [at_least_single(each.flatten(0, 1)) for each in parts]
    attended = _Attention.apply(*parts, None if mask is None else at_least_single(mask))
    return attended.to(q.dtype).unflatten(0, (rows, heads)).transpose(1, 2).flatten(2)


class _Attention(torch.autograd.Function):
    """``p v`` with ``p = softmax(c q k^T + mask)``, of tensors ``(n, tokens, width)``.

    ``c`` is one over the root of the width.
    """

    @staticmethod
    def forward(ctx, q, k, v, mask):
        with torch.autocast(q.device.type, enabled=False):
            if mask is None:
                scores = _scaled(q, k.mT, _scale(q))
            else:
                scores = torch.baddbmm(mask, q, k.mT, alpha=_scale(q))
            p = torch.softmax(scores, dim=-1)
            ctx.save_for_backward(q, k, v, p)
            return torch.bmm(p, v)

    @staticmethod
    def backward(ctx, *gradients):
        return *_AttentionGradient.apply(*gradients, *ctx.saved_tensors), None


class _AttentionGradient(torch.autograd.Function):
    """Its gradient: ``s = p (g v^T - d)`` with ``d`` the row sums of ``p (g v^T)``, and from it

    ``c s k``, ``c s^T q`` and ``p^T g``. Softmax's gradient is a symmetric map, ``s = p^ (g v^T)``.
    """

    @staticmethod
    def forward(ctx, g, q, k, v, p):
        g = g.contiguous()
        by_p = torch.bmm(g, v.mT)
        s = _softmax_gradient(by_p, p)
        ctx.save_for_backward(g, q, k, v, p, by_p, s)
        c = _scale(q)
        return _scaled(s, k, c), _scaled(s.mT, q, c), torch.bmm(p.mT, g)

    @staticmethod
    def backward(ctx, *cotangents):
        """Return the gradients for cotangents of those by ``q``, ``k`` and ``v``."""
        _check_last()
        a, b, e = cotangents
        g, q, k, v, p, by_p, s = ctx.saved_tensors
        c = _scale(q)
        u = torch.baddbmm(torch.bmm(a, k.mT), q, b.mT, beta=c, alpha=c)  # by s
        by_g_v = _softmax_gradient(u, p)
        # By p, up to a constant a row, of which softmax's gradient is free: (u - mean)(by_p - d).
        u = u - (p * u).sum(-1, keepdim=True)
        rest = by_p - (p * by_p).sum(-1, keepdim=True)
        w = _softmax_gradient(torch.bmm(g, e.mT).addcmul_(u, rest), p)  # by the scores
        by_q = torch.baddbmm(torch.bmm(w, k), s, b, beta=c, alpha=c)
        by_k = torch.baddbmm(torch.bmm(w.mT, q), s.mT, a, beta=c, alpha=c)
        by_v = torch.bmm(by_g_v.mT, g)
        return torch.baddbmm(torch.bmm(p, e), by_g_v, v), by_q, by_k, by_v, None


def _scale(q: Tensor) -> float:
    return q.shape[-1] ** -0.5


def _scaled(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Return ``scale a b`` in one operation."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


def _softmax_gradient(gradient: Tensor, p: Tensor) -> Tensor:
    return torch.ops.aten._softmax_backward_data(gradient, p, -1, p.dtype)


def _check_last() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "on a GPU a third derivative is not available; construct FrozenCLIP with "
            "launch_bound=False for it"
        )
