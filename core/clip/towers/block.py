"""open_clip's residual attention block taken apart, to be run on fewer tokens than it reads."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUICK = 1.702  # QuickGELU(x) = x sigmoid(1.702 x) = silu(1.702 x) / 1.702


class Linear:
    """``x weight^T + bias``, whose weight never changes."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Block:
    """Reads the modules of a ``ResidualAttentionBlock`` and changes nothing.

    All but the attention works on each token alone, in tensors of any shape ``(..., width)``; the
    caller decides who attends to whom. QuickGELU's constant moves into the vectors around it,
    which leaves one operation of five.
    """

    def __init__(self, module: Any):
        attention, mlp = module.attn, module.mlp
        width: int = attention.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        self.heads: int = attention.num_heads
        self.attend = attend
        self.norm_1: Callable[[Tensor], Tensor] = module.ln_1
        self.norm_2: Callable[[Tensor], Tensor] = module.ln_2
        self.scale_1: Callable[[Tensor], Tensor] = module.ls_1
        self.scale_2: Callable[[Tensor], Tensor] = module.ls_2
        self.in_projection = Linear(weight, bias)
        self.query = Linear(weight[:width], bias[:width])
        self.key_value = Linear(weight[width:], bias[width:])
        self.out_projection = Linear(attention.out_proj.weight, attention.out_proj.bias)
        self.activation: Callable[[Tensor], Tensor] = mlp.gelu
        gain = 1.0
        if _is_quick(module):
            self.activation, gain = F.silu, QUICK
            self.norm_2 = partial(
                F.layer_norm,
                normalized_shape=module.ln_2.normalized_shape,
                weight=gain * module.ln_2.weight,
                bias=gain * module.ln_2.bias,
                eps=module.ln_2.eps,
            )
        self.share = 1 / gain  # of the MLP's output
        self.up = Linear(mlp.c_fc.weight, gain * mlp.c_fc.bias)
        self.down = Linear(mlp.c_proj.weight, gain * mlp.c_proj.bias)

    def __call__(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Return ``x`` ``(rows, tokens, width)`` after the block.

        ``causal`` says that ``mask`` is the plain causal one, which a kernel may know by itself.
        """
        return self.finished(x, self.attend([self.projected(x)], mask, causal))

    def pooled(
        self, x: Tensor, pick: Callable[[Tensor], Tensor], mask: Tensor | None = None
    ) -> Tensor:
        """Return ``(rows, 1, width)``: the block's output for one token a row, ``pick(x)``.

        ``mask`` is of that token's attention, ``(rows, 1, 1, tokens)``.
        """
        normed = self.norm_1(x)
        parts = [
            self.by_head(self.query(pick(normed)), 1),
            self.by_head(self.key_value(normed), 2),
        ]
        return self.finished(pick(x), self.attend(parts, mask))

    def projected(self, x: Tensor) -> Tensor:
        """Return queries, keys and values ``(..., 3, heads, head width)`` of tokens."""
        return self.by_head(self.in_projection(self.norm_1(x)), 3)

    def by_head(self, x: Tensor, parts: int) -> Tensor:
        return x.unflatten(-1, (parts, self.heads, -1))

    def finished(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the block's output for tokens ``x`` and what they attended to."""
        x = x + self.scale_1(self.out_projection(attended))
        hidden = self.activation(self.up(self.norm_2(x)))
        return torch.add(x, self.scale_2(self.down(hidden)), alpha=self.share)


def blocks_of(modules: Sequence[nn.Module]) -> list[Block]:
    """Return the modules taken apart, or [] unless all are open_clip's ordinary blocks."""
    from open_clip.transformer import ResidualAttentionBlock

    ordinary = all(type(m) is ResidualAttentionBlock and not hasattr(m, "ln_1_kv") for m in modules)
    return [Block(module) for module in modules] if ordinary else []


def attend(parts: Sequence[Tensor], mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Return what queries attend to, ``(rows, tokens, width)``.

    Args:
        parts: queries, keys and values in this order, ``(rows, tokens, 1 to 3, heads, head width)``
            each.
        mask: is added to the scores; where ``causal``, it is the causal one, and not read.
    """
    each = (x for part in parts for x in _apart(part))
    q, k, v = (x.transpose(1, 2) for x in each)
    mask = None if causal else mask
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    return attended.transpose(1, 2).flatten(2)


def _apart(part: Tensor) -> tuple[Tensor, ...]:
    """Return what is along the third dimension; of one tensor, a view whose gradient is free."""
    return part.unbind(2) if part.shape[2] > 1 else (part.squeeze(2),)


def _is_quick(module: Any) -> bool:
    """Whether QuickGELU's constant can be moved through the block's MLP."""
    from open_clip.transformer import LayerNorm, QuickGELU

    movable = type(module.ln_2) is LayerNorm and type(module.ls_2) is nn.Identity
    return movable and type(module.mlp.gelu) is QuickGELU
