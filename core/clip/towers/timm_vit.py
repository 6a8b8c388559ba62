"""timm's vision transformer: SigLIP, SigLIP 2, MobileCLIP-B, ViTamin."""

from torch import Tensor, nn

from softprompt.core.clip.towers.walk import walk
from softprompt.core.prompts.base import Prompts


class TimmVision:
    """Reads the modules of open_clip's wrapper around a timm ``VisionTransformer``."""

    def __init__(self, visual: nn.Module):
        self.visual = visual
        self.width = visual.trunk.embed_dim
        self.depth = len(visual.trunk.blocks)
        self.tokens = visual.trunk.patch_embed.num_patches + visual.trunk.num_prefix_tokens

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        """Return features ``(batch, dim)`` of images ``(batch, 3, height, width)``."""
        trunk = self.visual.trunk
        x = trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(images)))
        x = walk(trunk.norm_pre(x), trunk.blocks, prompts, trunk.norm_pre)
        return self.visual.head(trunk.forward_head(trunk.norm(x)))
