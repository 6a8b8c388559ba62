"""timm's Eva, whose attention rotates tokens by their place: EVA01, EVA02, PE-Core."""

import torch
from torch import Tensor, nn

from softprompt.core.clip.towers.walk import walk
from softprompt.core.prompts.base import Prompts


class EvaVision:
    """Reads the modules of open_clip's wrapper around a timm ``Eva``."""

    def __init__(self, visual: nn.Module):
        self.visual = visual
        self.width = visual.trunk.embed_dim
        self.depth = len(visual.trunk.blocks)
        self.tokens = visual.trunk.patch_embed.num_patches + visual.trunk.num_prefix_tokens

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        """Return features ``(batch, dim)`` of images ``(batch, 3, height, width)``."""
        trunk = self.visual.trunk
        x, rope = trunk._pos_embed(trunk.patch_embed(images))
        tokens = x.shape[1]

        def call(block: nn.Module, x: Tensor) -> Tensor:
            return block(x, rope=_extended(rope, x.shape[1] - tokens))

        x = walk(trunk.norm_pre(x), trunk.blocks, prompts, trunk.norm_pre, call)
        return self.visual.head(trunk.forward_head(trunk.norm(x)))


def _extended(rope: Tensor | None, extra: int) -> Tensor | None:
    """Return ``rope`` ``(patches, sines and cosines)`` with ``extra`` rows that rotate nothing.

    A prompt has no place in the picture; without rows of its own the attention would fail.
    """
    if rope is None or not extra:
        return rope
    sine = rope.new_zeros(extra, rope.shape[1] // 2)
    return torch.cat([rope, torch.cat([sine, torch.ones_like(sine)], dim=1)])
