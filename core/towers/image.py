"""A walk of images through open_clip's vision transformer with prompts put in."""

import torch
from torch import Tensor, nn

from softprompt.core.prompts.base import Prompts


class ImageTower:
    """The image side of an open_clip model: reads its modules, changes nothing."""

    def __init__(self, visual: nn.Module):
        self.visual = visual
        self.blocks = visual.transformer.resblocks
        self.width = visual.transformer.width
        self.depth = len(self.blocks)

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        """Return features ``(batch, dim)`` of normalized ``images`` ``(batch, 3, height, width)``."""
        x = self.visual._embeds(images)  # (batch, 1 + patches, width), ln_pre applied
        tokens = x.shape[1]
        if prompts.image is not None:
            # ln_pre works on each token alone, so normalizing the prompt by itself is exact.
            x = _appended(x, tokens, self.visual.ln_pre(prompts.image))
        for index, block in enumerate(self.blocks):
            if 0 < index <= len(prompts.deep_image):
                x = _appended(x, tokens, prompts.deep_image[index - 1])
            x = block(x)
        pooled, _ = self.visual._pool(x[:, :tokens])
        return pooled if self.visual.proj is None else pooled @ self.visual.proj


def _appended(x: Tensor, tokens: int, vectors: Tensor) -> Tensor:
    """Return the first ``tokens`` of ``x`` ``(batch, ., width)``, followed by the prompt."""
    return torch.cat([x[:, :tokens], vectors.to(x.dtype).expand(len(x), -1, -1)], dim=1)
