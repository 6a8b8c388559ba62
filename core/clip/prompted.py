"""The frozen CLIP and a prompt learner, joined into a classifier."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.prompts.base import PromptLearner, Prompts
from softprompt.core.prompts.templates import templates_of


class Features(NamedTuple):
    """What a pass yields; ``image`` and ``text`` have unit length."""

    logits: Tensor  # (batch, classes)
    image: Tensor  # (batch, dim)
    text: Tensor  # (classes, dim), or (batch, classes, dim) for a conditional learner


class PromptedCLIP(nn.Module):
    """CLIP with learned prompts, functional in the learner's tensors.

    ``model(images)`` uses the learner's own parameters, ``model(images, params)`` a dict of tensors
    of the same names and shapes: an inner step of meta-learning is arithmetic on such dicts.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        learner: PromptLearner,
        classnames: tuple[str, ...],
        templates: dict[str, str] | None = None,
    ):
        """Join them.

        Args:
            templates: the dataset's hand-written sentences by preset, for zero-shot teachers.
        """
        super().__init__()
        self.clip = clip  # no nn.Module: its weights are not this model's parameters
        self.classnames = tuple(classnames)
        self.templates = templates or {}
        self.learner = learner.for_classes(self.classnames)
        self.sentences = clip.sentences(
            self.classnames, learner.template, learner.n_context, learner.position
        )

    def params(self) -> dict[str, Tensor]:
        """The learner's trained tensors by name."""
        return dict(self.learner.named_parameters())

    def forward(self, images: Tensor, params: dict[str, Tensor] | None = None) -> Features:
        return self.compare(*self.encode(images, params))

    def encode(
        self, images: Tensor, params: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return image and text features as the towers give them, not normalized."""
        if not self.learner.conditional:
            prompts = self.prompts(params)
            return self.clip.encode_image(images, prompts), self.encode_text(prompts)
        with torch.no_grad():
            image = self.clip.encode_image(images)
        prompts = self.prompts(params, F.normalize(image, dim=-1))
        if prompts.image is not None:
            image = self.clip.encode_image(images, prompts)
        return image, self.encode_text(prompts)

    def compare(self, image: Tensor, text: Tensor) -> Features:
        """Return unit features and their logits, ``scale * cosine``."""
        image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
        return Features(self.logits(image, text), image, text)

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of unit features."""
        if text.dim() == 3:
            return self.clip.logit_scale * torch.einsum("bd,bcd->bc", image, text)
        return self.clip.logit_scale * image @ text.T

    def prompts(
        self, params: dict[str, Tensor] | None = None, condition: Tensor | None = None
    ) -> Prompts:
        return functional_call(self.learner, params or {}, (condition,))

    def encode_text(self, prompts: Prompts) -> Tensor:
        if prompts.text is None and not prompts.deep_text:  # nothing learned: encoded once
            return self.clip.class_features(self.classnames, self.learner.templates, unit=True)
        return self.clip.encode_text(self.sentences, prompts)

    @torch.no_grad()
    def zero_shot_image(self, images: Tensor) -> Tensor:
        """Return the unit features ``(batch, dim)`` of CLIP without prompts."""
        return F.normalize(self.clip.encode_image(images), dim=-1)

    def zero_shot_text(self, templates: tuple[str, ...] | str) -> Tensor:
        """Return the unit features ``(classes, dim)`` of hand-written templates' mean feature.

        ``templates`` are sentences with ``{}``, or the name of a preset (see ``templates.py``).
        """
        if isinstance(templates, str):
            templates = templates_of(self, templates)
        return F.normalize(self.clip.class_features(self.classnames, templates), dim=-1)


def prompts_images(learner: PromptLearner, clip: FrozenCLIP) -> bool:
    """Whether a learner gives the image tower prompts, so that pictures must be encoded anew."""
    prompts = example_prompts(learner, clip)
    return prompts.image is not None or bool(prompts.deep_image)


def example_prompts(learner: PromptLearner, clip: FrozenCLIP) -> Prompts:
    """Return a learner's prompts with a graph; those of a conditional one are for a zero image."""
    condition = None
    if learner.conditional:
        like = next(learner.parameters())
        condition = torch.zeros(1, clip.dim, dtype=like.dtype, device=like.device)
    with torch.enable_grad():
        return learner(condition)
