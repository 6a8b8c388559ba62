"""IVLP: independent prompts in both towers."""

from collections.abc import Sequence

from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.ranges import CountOrZero, VectorsOrNone
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import (
    Backbone,
    PromptLearner,
    Prompts,
    deep_context,
    fitting_depth,
    random_vectors,
)

DEPTH = 9  # by default, in each tower


@PROMPT_LEARNERS.register("ivlp")
class IVLP(PromptLearner):
    """Independent vision-language prompts, as in MaPLe: https://arxiv.org/abs/2210.03117.

    A depth counts the blocks that receive fresh prompts, the first one's input included, so 1 is
    shallow prompting; vision depth 0 leaves the image tower alone. With ``n_ctx_text`` 0 the text
    stays the fixed sentence ``ctx_init``, which makes it VPT.
    """

    def __init__(
        self,
        clip: Backbone,
        classnames: Sequence[str],
        *,
        n_ctx_text: VectorsOrNone = 4,
        n_ctx_vision: VectorsOrNone = 4,
        prompt_depth_text: CountOrZero = DEPTH,
        prompt_depth_vision: CountOrZero = DEPTH,
        ctx_init: str = "a photo of a",
    ):
        """Create the prompt vectors.

        Args:
            n_ctx_text: context vectors in the sentence.
            n_ctx_vision: vectors appended to the image's patches.
            prompt_depth_text: text blocks with fresh prompts; by default at most what there are.
            prompt_depth_vision: vision blocks with fresh prompts; by default likewise.
            ctx_init: words at whose embeddings the first text prompts start; "": random.
        """
        prompt_depth_text = fitting_depth(
            prompt_depth_text, clip.text_depth, "PROMPT_DEPTH_TEXT", default=DEPTH
        )
        prompt_depth_vision = fitting_depth(
            prompt_depth_vision, clip.image_depth, "PROMPT_DEPTH_VISION", default=DEPTH
        )
        if n_ctx_text and not prompt_depth_text:
            raise UserError("PROMPT_DEPTH_TEXT is 0; set N_CTX_TEXT 0 to leave the text alone")
        if not n_ctx_vision:
            prompt_depth_vision = 0
        template, text = f"{ctx_init} {{}}.", nn.ParameterList()
        if n_ctx_text:
            template, text = deep_context(clip, ctx_init, n_ctx_text, prompt_depth_text)
        super().__init__(template, n_ctx_text)
        self.text = text
        self.image = nn.ParameterList(
            random_vectors(n_ctx_vision, clip.image_width) for _ in range(prompt_depth_vision)
        )

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        return Prompts.by_block(text=self.text, image=self.image)
