"""Deep prompts in the text tower alone."""

from collections.abc import Sequence

from torch import Tensor

from softprompt.core.base.ranges import Count, Vectors
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import (
    Backbone,
    PromptLearner,
    Prompts,
    deep_context,
    fitting_depth,
)

DEPTH = 12  # by default


@PROMPT_LEARNERS.register("language_only")
class LanguageOnly(PromptLearner):
    """Deep language prompting, the text half of IVLP: https://arxiv.org/abs/2210.03117."""

    def __init__(
        self,
        clip: Backbone,
        classnames: Sequence[str],
        *,
        n_ctx: Vectors = 4,
        prompt_depth: Count = DEPTH,
        ctx_init: str = "a photo of a",
    ):
        """Create the prompt vectors.

        Args:
            n_ctx: context vectors in the sentence.
            prompt_depth: blocks that receive fresh ones, the first included; by default at most
                what the tower has.
            ctx_init: words at whose embeddings the first ones start; "": random.
        """
        prompt_depth = fitting_depth(
            prompt_depth, clip.text_depth, "PROMPT_DEPTH", default=DEPTH, least=1
        )
        template, vectors = deep_context(clip, ctx_init, n_ctx, prompt_depth)
        super().__init__(template, n_ctx)
        self.text = vectors

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        return Prompts.by_block(text=self.text)
