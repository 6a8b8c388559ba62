"""Attention that can be differentiated twice, in few operations; see ``second_order.py``.

torch has no second derivative of fused attention. Exact up to rounding, for derivatives of first
and second order; a third raises an error. Slow counterpart: ``attend``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from softprompt.core.clip.gradients import is_twice_differentiable
from softprompt.core.clip.towers.block import attend
from softprompt.core.clip.towers.walk import at_least_single


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
        check_last()
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


def check_last() -> None:
    """Raise an error if what is computed now would be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "on a GPU a third derivative is not available; construct FrozenCLIP with "
            "launch_bound=False for it"
        )
