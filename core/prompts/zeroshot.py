"""CLIP as it is, with hand-written sentences."""

from collections.abc import Sequence

from torch import Tensor

from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import Backbone, PromptLearner, Prompts
from softprompt.core.prompts.templates import PHOTO, templates_of


@PROMPT_LEARNERS.register("zeroshot")
class ZeroShot(PromptLearner):
    """Zero-shot CLIP, https://arxiv.org/abs/2103.00020: nothing is learned, so evaluate it only."""

    def __init__(
        self,
        clip: Backbone,
        classnames: Sequence[str],
        *,
        templates: str | tuple[str, ...] = PHOTO,
    ):
        """Choose the sentences.

        Args:
            templates: a sentence with {} for the name, several of them, or an ensemble's name:
                select (7) or imagenet (80). A dataset's own sentence is TEST.TEMPLATES.
        """
        if isinstance(templates, str):
            templates = templates_of(None, templates)
        super().__init__(templates[0])
        self.templates = tuple(templates)

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        return Prompts()
