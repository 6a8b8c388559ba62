"""VPT: prompts in the image tower alone."""

from collections.abc import Sequence

from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.ranges import Count, Vectors
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import (
    Backbone,
    PromptLearner,
    Prompts,
    fitting_depth,
    random_vectors,
)

DEPTH = 12  # by default


@PROMPT_LEARNERS.register("vpt")
class VPT(PromptLearner):
    """Visual Prompt Tuning, https://arxiv.org/abs/2203.12119, with CLIP's text as classifier.

    Depth 1 is VPT-shallow, the tower's full depth VPT-deep.
    """

    def __init__(
        self,
        clip: Backbone,
        classnames: Sequence[str],
        *,
        n_ctx_vision: Vectors = 8,
        prompt_depth_vision: Count = DEPTH,
        ctx_init: str = "a photo of a",
    ):
        """Create the prompt vectors.

        Args:
            n_ctx_vision: vectors appended to the image's patches.
            prompt_depth_vision: blocks that receive fresh ones, the first included; by default at
                most what the tower has.
            ctx_init: the fixed words before the class name.
        """
        super().__init__(f"{ctx_init} {{}}.")
        prompt_depth_vision = fitting_depth(
            prompt_depth_vision, clip.image_depth, "PROMPT_DEPTH_VISION", default=DEPTH
        )
        if n_ctx_vision < 1 or prompt_depth_vision < 1:
            raise UserError("VPT needs N_CTX_VISION and PROMPT_DEPTH_VISION of at least 1")
        self.image = nn.ParameterList(
            random_vectors(n_ctx_vision, clip.image_width) for _ in range(prompt_depth_vision)
        )

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        return Prompts.by_block(image=self.image)
