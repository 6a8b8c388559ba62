"""open_clip's residual attention block in parts, to be run on fewer tokens than it reads."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softprompt.core.clip.fast.onednn import PackedLinear, frozen_linear

QUICK = 1.702  # QuickGELU(x) = x sigmoid(1.702 x) = silu(1.702 x) / 1.702


class Block:
    """Reads the modules of a ``ResidualAttentionBlock`` and changes nothing.

    What lies outside the attention works on each token alone, in tensors of any shape
    ``(..., width)``; who attends to whom is the caller's affair. QuickGELU's constant moves into
    the vectors around it, which leaves one operation of five.
    """

    def __init__(self, module: nn.Module, pack: bool):
        linear = partial(frozen_linear, pack=pack)
        attention, mlp = module.attn, module.mlp
        width = attention.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        self.heads = attention.num_heads
        self.norm_1, self.norm_2 = module.ln_1, module.ln_2
        self.scale_1, self.scale_2 = module.ls_1, module.ls_2
        self.in_projection = linear(weight, bias)
        self.query = linear(weight[:width], bias[:width])
        self.key_value = linear(weight[width:], bias[width:])
        self.out_projection = linear(attention.out_proj.weight, attention.out_proj.bias)
        self.activation, gain = mlp.gelu, 1.0
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
        self.up = linear(mlp.c_fc.weight, gain * mlp.c_fc.bias)
        self.down = linear(mlp.c_proj.weight, gain * mlp.c_proj.bias)

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return ``x`` ``(rows, tokens, width)`` after the block."""
        q, k, v = self.projected(x).unbind(-3)
        return self.finished(x, attend(q, k, v, mask))

    def pooled(self, x: Tensor, at: tuple, mask: Tensor | None = None) -> Tensor:
        """Return ``(rows, 1, width)``: the block's output for one token a row, ``x[at]``.

        ``mask`` is of that token's attention, ``(rows, 1, 1, tokens)``.
        """
        normed = self.norm_1(x)
        q = self.by_head(self.query(normed[at]), 1).squeeze(-3)
        k, v = self.by_head(self.key_value(normed), 2).unbind(-3)
        return self.finished(x[at], attend(q, k, v, mask))

    def projected(self, x: Tensor) -> Tensor:
        """Return queries, keys and values ``(..., 3, heads, head width)`` of tokens."""
        return self.by_head(self.in_projection(self.norm_1(x)), 3)

    def by_head(self, x: Tensor, parts: int) -> Tensor:
        return x.unflatten(-1, (parts, self.heads, -1))

    def finished(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the block's output for tokens ``x`` from what they attended to."""
        x = x + self.scale_1(self.out_projection(attended))
        hidden = self.activation(self.up(self.norm_2(x)))
        return torch.add(x, self.scale_2(self.down(hidden)), alpha=self.share)


def packed_bytes(blocks: list) -> int:
    """Return what the packed copies of some blocks' weights take."""
    layers = [part for block in blocks for part in vars(block).values()]
    return sum(layer.bytes for layer in layers if isinstance(layer, PackedLinear))


def _is_quick(module: nn.Module) -> bool:
    """Whether the MLP is one that QuickGELU's constant can be moved through."""
    from open_clip.transformer import LayerNorm, QuickGELU

    plain = type(module.ln_2) is LayerNorm and type(module.ls_2) is nn.Identity
    return plain and type(module.mlp.gelu) is QuickGELU


def blocks_of(modules: nn.ModuleList, pack: bool = False) -> list[Block] | None:
    """Return the blocks in parts, or None where they are not open_clip's plain ones.

    ``pack`` lays their weights out for oneDNN; see ``linear.py``.
    """
    from open_clip.transformer import ResidualAttentionBlock

    plain = all(type(m) is ResidualAttentionBlock and not hasattr(m, "ln_1_kv") for m in modules)
    return [Block(module, pack) for module in modules] if plain else None


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Return ``(rows, tokens, width)`` of ``(rows, tokens, heads, head width)`` each."""
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    return attended.transpose(1, 2).flatten(2)
