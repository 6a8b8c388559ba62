"""CLIP as it is, with hand-written sentences."""

from types import SimpleNamespace

from torch import Tensor

from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import PromptLearner, Prompts
from softprompt.core.prompts.templates import PLAIN, templates_of

NO_DATASET = SimpleNamespace(templates={})


@PROMPT_LEARNERS.register("zeroshot")
class ZeroShot(PromptLearner):
    """Zero-shot CLIP, https://arxiv.org/abs/2103.00020: nothing is learned, so evaluate it only."""

    def __init__(self, clip, classnames, *, templates: str | tuple[str, ...] = PLAIN):
        """Choose the sentences.

        Args:
            templates: a sentence with {} for the name, several of them, or an ensemble's name:
                select (7) or imagenet (80). A dataset's own sentence is TEST.TEMPLATES.
        """
        if isinstance(templates, str):
            alone = "{}" in templates
            templates = (templates,) if alone else templates_of(NO_DATASET, templates)
        super().__init__(templates[0])
        self.templates = tuple(templates)

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        return Prompts()
