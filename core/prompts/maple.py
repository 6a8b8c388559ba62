"""MaPLe: image prompts that are linear functions of the text prompts."""

from collections.abc import Sequence
from copy import deepcopy

from torch import Tensor, nn

from softprompt.core.base.ranges import Count, Vectors
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import (
    Backbone,
    PromptLearner,
    Prompts,
    deep_context,
    fitting_depth,
)

DEPTH = 9  # by default, in each tower


@PROMPT_LEARNERS.register("maple")
class MaPLe(PromptLearner):
    """Multi-modal Prompt Learning: https://arxiv.org/abs/2210.03117.

    ``V_i = W_i P_i + b_i`` gives the image prompt of block i from its text prompt. The widths are
    the backbone's; the official code has those of ViT-B written in.
    """

    def __init__(
        self,
        clip: Backbone,
        classnames: Sequence[str],
        *,
        n_ctx: Vectors = 2,
        prompt_depth: Count = DEPTH,
        ctx_init: str = "a photo of a",
    ):
        """Create the text prompts and the coupling maps.

        Args:
            n_ctx: vectors in each tower.
            prompt_depth: blocks of each tower that receive fresh ones, the first included; by
                default at most what both towers have.
            ctx_init: words at whose embeddings the first ones start; "": random.
        """
        blocks = min(clip.text_depth, clip.image_depth)
        prompt_depth = fitting_depth(prompt_depth, blocks, "PROMPT_DEPTH", default=DEPTH, least=1)
        template, vectors = deep_context(clip, ctx_init, n_ctx, prompt_depth)
        super().__init__(template, n_ctx)
        self.text = vectors
        first, deep = (nn.Linear(clip.text_width, clip.image_width) for _ in range(2))
        copies = [deepcopy(deep) for _ in range(prompt_depth - 1)]  # alike at the start
        self.coupling = nn.ModuleList([first, *copies])

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        image = [couple(prompt) for couple, prompt in zip(self.coupling, self.text, strict=True)]
        return Prompts.by_block(text=self.text, image=image)
