"""The image towers: open_clip's own and timm's with prompts, the others without.

Each reads the modules of a model and changes nothing; see ``walk`` for where the prompts go.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.clip.towers.block import Block, blocks_of
from softprompt.core.clip.towers.walk import Layer, walk
from softprompt.core.prompts.base import Prompts


class VisionTower(ABC):
    """From images ``(batch, 3, height, width)`` and prompts to features ``(batch, dim)``."""

    depth: int  # blocks that take prompts; 0: none does
    tokens: int  # of an image in each block, without prompts
    parts: list[Block]  # the blocks that are open_clip's own, taken apart
    launch_bound = False  # as ``TextTower`` has it

    def __init__(self, visual: Any):
        self.visual = visual
        self.parts = []

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of a token and thus of a prompt; ``UserError`` where the tower takes none."""

    @abstractmethod
    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor: ...


class NativeVisionTower(VisionTower):
    """open_clip's ``VisionTransformer``: OpenAI, LAION, DataComp, MetaCLIP, DFN, CLIPA.

    Where only the class token is pooled, the last block computes no other token's output.
    """

    def __init__(self, visual: Any):
        super().__init__(visual)
        modules = list(visual.transformer.resblocks)
        self.depth = len(modules)
        self.tokens = len(visual.positional_embedding)
        self.parts = blocks_of(modules)
        self.blocks: list[Callable[[Tensor], Tensor]] = [*(self.parts or modules)]
        one_token = visual.attn_pool is None and visual.pool_type == "tok"
        self.pooled_block = self.parts[-1] if self.parts and one_token else None
        self.first_norm: Layer = visual.ln_pre
        self.last_norm: Layer = visual.ln_post

    @property
    def width(self) -> int:
        return self.visual.transformer.width

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        visual = self.visual
        x = visual._embeds(images)  # (batch, 1 + patches, width), ln_pre applied
        x = walk(x, self.blocks, prompts, self.first_norm, self._call)
        pooled = self.last_norm(x[:, 0]) if self.pooled_block else visual._pool(x)[0]
        return pooled if visual.proj is None else pooled @ visual.proj

    def _call(self, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.pooled_block is not None and block is self.pooled_block:
            return self.pooled_block.pooled(x, _class_token)
        return block(x)


class TimmVisionTower(VisionTower):
    """timm's ``VisionTransformer`` wrapped by open_clip: SigLIP, MobileCLIP-B, ViTamin."""

    def __init__(self, visual: Any):
        super().__init__(visual)
        self.depth = len(visual.trunk.blocks)
        self.tokens = visual.trunk.patch_embed.num_patches + visual.trunk.num_prefix_tokens

    @property
    def width(self) -> int:
        return self.visual.trunk.embed_dim

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        trunk = self.visual.trunk
        x = trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(images)))
        x = walk(trunk.norm_pre(x), trunk.blocks, prompts, trunk.norm_pre)
        return self.visual.head(trunk.forward_head(trunk.norm(x)))


class EvaVisionTower(TimmVisionTower):
    """timm's ``Eva``, whose attention rotates tokens by their place: EVA01, EVA02, PE-Core."""

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        trunk = self.visual.trunk
        x, rope = trunk._pos_embed(trunk.patch_embed(images))
        tokens = x.shape[1]

        def call(block: Callable[..., Tensor], x: Tensor) -> Tensor:
            return block(x, rope=_extended(rope, x.shape[1] - tokens))

        x = walk(trunk.norm_pre(x), trunk.blocks, prompts, trunk.norm_pre, call)
        return self.visual.head(trunk.forward_head(trunk.norm(x)))


class FixedVisionTower(VisionTower):
    """A tower without a place for prompts, run whole: ResNet, ConvNeXt, FastViT and others."""

    depth = 0
    tokens = 0

    @property
    def width(self) -> int:
        raise self._refusal()

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        if prompts.prompts_image:
            raise self._refusal()
        return self.visual(images)

    def _refusal(self) -> UserError:
        kind = type(getattr(self.visual, "trunk", self.visual)).__name__
        return UserError(
            f"this backbone's image tower ({kind}) takes no image prompts; use a text-only "
            "learner such as coop, or another backbone"
        )


def _class_token(x: Tensor) -> Tensor:
    return x[:, :1]


def _extended(rope: Tensor | None, extra: int) -> Tensor | None:
    """Return ``rope`` ``(patches, sines and cosines)`` with ``extra`` rows that rotate nothing.

    A prompt has no place in the image; without rows of its own the attention would fail.
    """
    if rope is None or not extra:
        return rope
    sine = rope.new_zeros(extra, rope.shape[1] // 2)
    return torch.cat([rope, torch.cat([sine, torch.ones_like(sine)], dim=1)])
