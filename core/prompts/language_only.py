"""Deep prompts in the text tower alone."""

from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import (
    PromptLearner,
    Prompts,
    check_depth,
    context,
    random_vectors,
)


@PROMPT_LEARNERS.register("language_only")
class LanguageOnly(PromptLearner):
    """Deep language prompting, the text half of IVLP: https://arxiv.org/abs/2210.03117."""

    def __init__(
        self,
        clip,
        classnames,
        *,
        n_ctx: int = 4,
        prompt_depth: int = 12,
        ctx_init: str = "a photo of a",
    ):
        """Make the prompt vectors.

        Args:
            n_ctx: context vectors in the sentence.
            prompt_depth: blocks that receive fresh ones, the first included.
            ctx_init: words at whose embeddings the first ones start; "": random.
        """
        check_depth(prompt_depth, clip.text_depth, "PROMPT_DEPTH")
        if prompt_depth < 1:
            raise UserError("PROMPT_DEPTH is 0, but must be at least 1")
        template, start = context(clip, ctx_init, n_ctx)
        super().__init__(template, n_ctx)
        self.text = nn.ParameterList([nn.Parameter(start)])
        self.text.extend(random_vectors(n_ctx, clip.text_width) for _ in range(prompt_depth - 1))

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        first, *deep = self.text
        return Prompts(text=first, deep_text=tuple(deep))
