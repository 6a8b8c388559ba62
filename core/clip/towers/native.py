"""open_clip's own vision transformer: OpenAI, LAION, DataComp, MetaCLIP, DFN, CLIPA."""

from torch import Tensor, nn

from softprompt.core.clip.towers.block import blocks_of
from softprompt.core.clip.towers.walk import walk
from softprompt.core.prompts.base import Prompts

CLASS_TOKEN = (slice(None), slice(0, 1))


class NativeVision:
    """Reads the modules of a ``VisionTransformer`` and changes nothing.

    Where only the class token is pooled, the last block has no use for the others' outputs.
    """

    def __init__(self, visual: nn.Module, pack: bool = False):
        self.visual = visual
        self.width = visual.transformer.width
        self.depth = len(visual.transformer.resblocks)
        self.tokens = len(visual.positional_embedding)  # of an image, without prompts
        blocks = blocks_of(visual.transformer.resblocks, pack)
        self.blocks = blocks or list(visual.transformer.resblocks)
        one_token = visual.attn_pool is None and visual.pool_type == "tok"
        self.pooled_block = self.blocks[-1] if blocks and one_token else None

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        """Return features ``(batch, dim)`` of images ``(batch, 3, height, width)``."""
        visual = self.visual
        x = visual._embeds(images)  # (batch, 1 + patches, width), ln_pre applied
        pooled, _ = visual._pool(walk(x, self.blocks, prompts, visual.ln_pre, self._call))
        return pooled if visual.proj is None else pooled @ visual.proj

    def _call(self, block, x: Tensor) -> Tensor:
        return block.pooled(x, CLASS_TOKEN) if block is self.pooled_block else block(x)
