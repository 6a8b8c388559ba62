"""The frozen CLIP and a prompt learner, joined into a classifier."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import is_built_in, place
from softprompt.core.clip.fast.store import FeatureStore
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.images import Images, as_images
from softprompt.core.prompts.base import PromptLearner, Prompts
from softprompt.core.prompts.templates import templates_of


class Features(NamedTuple):
    """The outcome of a forward pass; ``image`` and ``text`` have unit length."""

    logits: Tensor  # (batch, classes)
    image: Tensor  # (batch, dim)
    text: Tensor  # (classes, dim), or (batch, classes, dim) for a conditional learner


class PromptedCLIP(nn.Module):
    """CLIP with learned prompts, functional in the learner's tensors.

    ``model(images)`` uses the learner's own parameters, ``model(images, params)`` a dict of tensors
    of the same names and shapes: an inner step of meta-learning is arithmetic on such dicts. Images
    are a tensor, or a batch, whose unprompted features are then encoded once for all that ask.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        learner: PromptLearner,
        classnames: Sequence[str],
        templates: Mapping[str, str | tuple[str, ...]] | None = None,
        store: FeatureStore | None = None,
    ):
        """Join them.

        Args:
            templates: the dataset's hand-written sentences by preset, for zero-shot teachers.
            store: where to look for features of hand-written sentences.
        """
        super().__init__()
        self.clip = clip  # no nn.Module: its weights are not this model's parameters
        self.classnames = tuple(classnames)
        self.templates = templates or {}
        self.store = store
        self.learner = learner.for_classes(self.classnames)
        with _named_in_errors(learner):
            self.sentences = clip.sentences(
                self.classnames, learner.template, learner.n_context, learner.position
            )

    if TYPE_CHECKING:  # a module's call is ``Any`` to editors

        def __call__(
            self, images: Tensor | Images, params: dict[str, Tensor] | None = None
        ) -> Features: ...

    def params(self) -> dict[str, Tensor]:
        """Return the learner's trained tensors by name."""
        return dict(self.learner.named_parameters())

    def forward(self, images: Tensor | Images, params: dict[str, Tensor] | None = None) -> Features:
        """Return unit features and logits of images ``(batch, 3, height, width)``."""
        return self.compare(*self.encode(images, params))

    def encode(
        self, images: Tensor | Images, params: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return image and text features as the towers give them, not normalized.

        Raises:
            UserError: the prompts do not fit the towers.
        """
        with _named_in_errors(self.learner):
            images = as_images(images)
            if not self.learner.conditional:
                prompts = self.prompts(params)
                return self.encode_image(images, prompts), self.encode_text(prompts)
            with torch.no_grad():
                image = self.clip.unprompted(images)
            prompts = self.prompts(params, F.normalize(image, dim=-1))
            if prompts.prompts_image:
                image = self.encode_image(images, prompts)
            return image, self.encode_text(prompts)

    def at_each(
        self, images: Tensor | Images, params: Sequence[dict[str, Tensor]]
    ) -> list[Features]:
        """Return ``self(images, p)`` for each ``p`` of some params, all of them in one pass."""
        with _named_in_errors(self.learner):
            images, parts = as_images(images), len(params)
            condition = None
            if self.learner.conditional:
                with torch.no_grad():
                    condition = F.normalize(self.clip.unprompted(images), dim=-1)
            each = [self.prompts(p, condition) for p in params]
            prompts = Prompts.joined(each, len(images.images))
            if prompts.prompts_image:
                image = self.clip.encode_image(images.images.repeat(parts, 1, 1, 1), prompts)
                image = self.clip.unit(image).unflatten(0, (parts, -1))
            else:
                image = self.clip.unit(self.clip.unprompted(images)).expand(parts, -1, -1)
            text = self.clip.unit(self.encode_text(prompts))
            if not prompts.prompts_text:
                text = text.expand(parts, -1, -1)
            elif each[0].batch is not None:
                text = text.unflatten(0, (parts, -1))
        pairs = zip(image.unbind(), text.unbind(), strict=True)
        return [Features(self.logits(*pair), *pair) for pair in pairs]

    def encode_image(self, images: Images, prompts: Prompts) -> Tensor:
        """Return image features ``(batch, dim)``, not normalized."""
        if prompts.prompts_image:
            return self.clip.encode_image(images.images, prompts)
        return self.clip.unprompted(images)

    def compare(self, image: Tensor, text: Tensor) -> Features:
        """Return unit features and their logits, ``scale * cosine``."""
        image, text = self.clip.unit(image), self.clip.unit(text)
        return Features(self.logits(image, text), image, text)

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of unit features."""
        if text.dim() == 3:
            return self.clip.logit_scale * torch.einsum("bd,bcd->bc", image, text)
        return self.clip.logit_scale * image @ text.T

    def prompts(
        self, params: dict[str, Tensor] | None = None, condition: Tensor | None = None
    ) -> Prompts:
        """Return the learner's prompts, for unit image features ``(batch, dim)`` if conditional."""
        found = functional_call(self.learner, params or {}, (condition,))
        return _checked(found, self.learner)

    def encode_text(self, prompts: Prompts) -> Tensor:
        """Return text features ``(classes, dim)`` or ``(batch, classes, dim)``, not normalized."""
        if not prompts.prompts_text:  # nothing learned: encoded once
            return self._class_features(self.learner.templates, unit=True)
        return self.clip.encode_text(self.sentences, prompts)

    @torch.no_grad()
    def zero_shot_image(self, images: Tensor | Images) -> Tensor:
        """Return the unit features ``(batch, dim)`` of CLIP without prompts."""
        return F.normalize(self.clip.unprompted(as_images(images)), dim=-1)

    def zero_shot_text(self, templates: Sequence[str] | str) -> Tensor:
        """Return the unit features ``(classes, dim)`` of hand-written templates' mean feature.

        ``templates`` are sentences with ``{}``, or the name of a preset (see ``templates.py``).
        """
        if isinstance(templates, str):
            templates = templates_of(self, templates)
        return F.normalize(self._class_features(templates), dim=-1)

    def _class_features(self, templates: Sequence[str], unit: bool = False) -> Tensor:
        return self.clip.class_features(self.classnames, templates, unit=unit, store=self.store)


def prompts_images(learner: PromptLearner, clip: FrozenCLIP) -> bool:
    """Whether a learner prompts the image tower, so that images must be encoded anew each step."""
    return example_prompts(learner, clip).prompts_image


def example_prompts(learner: PromptLearner, clip: FrozenCLIP, images: int = 1) -> Prompts:
    """Return a learner's prompts with a graph; a conditional learner's are for zero features."""
    condition = None
    if learner.conditional:
        like = next(learner.parameters())
        condition = torch.zeros(images, clip.dim, dtype=like.dtype, device=like.device)
    with torch.enable_grad():
        return _checked(learner(condition), learner)


def check_classes(
    learner: PromptLearner, clip: FrozenCLIP, trained: Sequence[str], classnames: Sequence[str]
) -> None:
    """Raise ``UserError`` if a learner for some class names cannot be used with others."""
    name, used = place(type(learner)), learner.for_classes(classnames)
    if not isinstance(used, PromptLearner):
        raise UserError(f"{name}: for_classes() returned {used!r}; return self or another learner")
    same = tuple(classnames) == tuple(trained)
    if same and used is not learner:
        raise UserError(
            f"{name}: for_classes() returned another learner for the very class names that it was "
            "constructed with; let it return self for them, or another one is trained than tested"
        )
    if used is learner and not same and example_prompts(learner, clip).by_class:
        raise UserError(
            f"the prompts of {name} differ from class to class, but its for_classes() returns "
            "self for other classes, too; let it return a learner for the class names it is given "
            "or raise UserError, or evaluate on the trained classes alone (TEST.CLASSES)"
        )


@contextmanager
def _named_in_errors(learner: PromptLearner) -> Iterator[None]:
    """Let errors begin with the class and file of a learner that does not come with the package."""
    try:
        yield
    except UserError as error:
        where = place(type(learner))
        if is_built_in(type(learner)) or str(error).startswith(where):
            raise
        raise UserError(f"{where}: {error}") from error


def _checked(prompts: object, learner: PromptLearner) -> Prompts:
    if not isinstance(prompts, Prompts):
        raise UserError(
            f"{place(type(learner))}: {type(learner).__name__}.forward() returned "
            f"{type(prompts).__name__}; it returns Prompts, such as Prompts(text=self.context)"
        )
    other = next((v for v in prompts.vectors if not isinstance(v, Tensor)), None)
    if other is not None:
        raise UserError(
            f"{place(type(learner))}: {type(learner).__name__}.forward() returned Prompts of "
            f"{type(other).__name__}; they hold tensors, such as Prompts(text=self.context)"
        )
    return prompts
