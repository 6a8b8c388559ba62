"""open_clip's own vision transformer: OpenAI, LAION, DataComp, MetaCLIP, DFN, CLIPA."""

from torch import Tensor, nn

from softprompt.core.prompts.base import Prompts
from softprompt.core.towers.walk import walk


class NativeVision:
    """Reads the modules of a ``VisionTransformer`` and changes nothing."""

    def __init__(self, visual: nn.Module):
        self.visual = visual
        self.width = visual.transformer.width
        self.depth = len(visual.transformer.resblocks)

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        """Return features ``(batch, dim)`` of images ``(batch, 3, height, width)``."""
        visual = self.visual
        x = visual._embeds(images)  # (batch, 1 + patches, width), ln_pre applied
        pooled, _ = visual._pool(walk(x, visual.transformer.resblocks, prompts, visual.ln_pre))
        return pooled if visual.proj is None else pooled @ visual.proj
