"""Image towers without a place for prompts: ResNet, ConvNeXt, FastViT and others."""

from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.prompts.base import Prompts


class PlainVision:
    """Runs the tower whole, for learners that prompt the text alone."""

    depth = 0

    def __init__(self, visual: nn.Module):
        self.visual = visual

    @property
    def width(self) -> int:
        raise self._refusal()

    def __call__(self, images: Tensor, prompts: Prompts) -> Tensor:
        """Return features ``(batch, dim)`` of images ``(batch, 3, height, width)``."""
        if prompts.prompts_image:
            raise self._refusal()
        return self.visual(images)

    def _refusal(self) -> UserError:
        kind = type(getattr(self.visual, "trunk", self.visual)).__name__
        return UserError(
            f"this backbone's image tower ({kind}) takes no image prompts; use a text-only "
            "learner such as coop, or another backbone"
        )
