"""IVLP: independent prompts in both towers."""

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


@PROMPT_LEARNERS.register("ivlp")
class IVLP(PromptLearner):
    """Independent vision-language prompts, as in MaPLe: https://arxiv.org/abs/2210.03117.

    A depth counts the blocks that receive fresh prompts, the first one's input included, so 1 is
    shallow prompting; vision depth 0 leaves the image tower alone. With ``n_ctx_text`` 0 the text
    stays the fixed sentence ``ctx_init``, which makes it VPT.
    """

    def __init__(
        self,
        clip,
        classnames: tuple[str, ...],
        *,
        n_ctx_text: int = 4,
        n_ctx_vision: int = 4,
        prompt_depth_text: int = 9,
        prompt_depth_vision: int = 9,
        ctx_init: str = "a photo of a",
    ):
        """Make the prompt vectors.

        Args:
            n_ctx_text: context vectors in the sentence.
            n_ctx_vision: vectors appended to the image's patches.
            prompt_depth_text: text blocks with fresh prompts.
            prompt_depth_vision: vision blocks with fresh prompts.
            ctx_init: words at whose embeddings the first text prompts start; "": random.
        """
        check_depth(prompt_depth_text, clip.text_depth, "PROMPT_DEPTH_TEXT")
        check_depth(prompt_depth_vision, clip.image_depth, "PROMPT_DEPTH_VISION")
        if n_ctx_text and not prompt_depth_text:
            raise UserError("PROMPT_DEPTH_TEXT is 0; set N_CTX_TEXT 0 to leave the text alone")
        if not n_ctx_vision:
            prompt_depth_vision = 0
        if not n_ctx_text:
            super().__init__(f"{ctx_init} {{}}.")
            text = []
        else:
            template, start = context(clip, ctx_init, n_ctx_text)
            super().__init__(template, n_ctx_text)
            text = [nn.Parameter(start)]
            for _ in range(prompt_depth_text - 1):
                text.append(random_vectors(n_ctx_text, clip.text_width))
        self.text = nn.ParameterList(text)
        self.image = nn.ParameterList(
            random_vectors(n_ctx_vision, clip.image_width) for _ in range(prompt_depth_vision)
        )

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        text, image = list(self.text), list(self.image)
        return Prompts(
            text=text[0] if text else None,
            deep_text=tuple(text[1:]),
            image=image[0] if image else None,
            deep_image=tuple(image[1:]),
        )
