"""The contract of a prompt learner: what it may ask of CLIP, what it returns, how vectors start."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.base.registry import place

POSITIONS = ("end", "middle", "front")  # of a class name among the context vectors


class Backbone(Protocol):
    """What a learner may ask of the frozen CLIP.

    A depth counts transformer blocks that take prompts. Where the image tower takes none,
    ``image_depth`` is 0 and ``image_width`` raises ``UserError``. ``dim`` is the width of the
    features that images and texts share.
    """

    @property
    def text_width(self) -> int: ...
    @property
    def text_depth(self) -> int: ...
    @property
    def image_width(self) -> int: ...
    @property
    def image_depth(self) -> int: ...
    @property
    def dim(self) -> int: ...

    def embed_words(self, words: str) -> Tensor:
        """Return the token embeddings ``(tokens, text_width)`` of some words."""
        ...


@dataclass(frozen=True)
class Prompts:
    """The vectors that CLIP's towers read besides images and class names; empty: CLIP as it is.

    ``text`` replaces the context words: ``(n, width)`` shared by all classes, ``(classes, n,
    width)`` class-specific, or ``(batch, 1 or classes, n, width)`` when it depends on the image.
    ``image`` is ``(n, width)``, or ``(batch, n, width)``, appended to the patches. ``deep_text``
    and ``deep_image`` hold one such tensor for each further block, from the second on, which
    replaces the prompt as the block before has left it.
    """

    text: Tensor | None = None
    image: Tensor | None = None
    deep_text: tuple[Tensor, ...] = ()
    deep_image: tuple[Tensor, ...] = ()

    @classmethod
    def by_block(cls, text: Iterable[Tensor] = (), image: Iterable[Tensor] = ()) -> "Prompts":
        """Return prompts from each tower's tensors, one a block from the first on."""
        text, image = tuple(text), tuple(image)
        return cls(next(iter(text), None), next(iter(image), None), text[1:], image[1:])

    @property
    def text_vectors(self) -> tuple[Tensor, ...]:
        """The text tower's tensors, block by block."""
        return self.deep_text if self.text is None else (self.text, *self.deep_text)

    @property
    def image_vectors(self) -> tuple[Tensor, ...]:
        """The image tower's tensors, block by block."""
        return self.deep_image if self.image is None else (self.image, *self.deep_image)

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        return self.text_vectors + self.image_vectors

    @property
    def prompts_text(self) -> bool:
        return bool(self.text_vectors)

    @property
    def prompts_image(self) -> bool:
        return bool(self.image_vectors)

    @property
    def batch(self) -> int | None:
        """The number of images that the text prompts depend on, None where they do not."""
        return next((len(vectors) for vectors in self.text_vectors if vectors.dim() == 4), None)

    @property
    def by_class(self) -> bool:
        """Whether a text prompt differs from class to class."""
        return any(map(is_by_class, self.text_vectors))

    def text_only(self) -> "Prompts":
        return Prompts(text=self.text, deep_text=self.deep_text)

    def image_only(self) -> "Prompts":
        return Prompts(image=self.image, deep_image=self.deep_image)

    def of_classes(self, classes: slice) -> "Prompts":
        """Return the prompts of some classes."""
        return self._map(lambda v: v[..., classes, :, :] if is_by_class(v) else v, _same)

    def of_images(self, images: slice) -> "Prompts":
        """Return the prompts of some images."""
        return self._map(
            lambda v: v[images] if v.dim() == 4 and len(v) > 1 else v,
            lambda v: v[images] if v.dim() == 3 else v,
        )

    @classmethod
    def joined(cls, parts: Sequence["Prompts"], images: int) -> "Prompts":
        """Return the prompts for all parts' images, one part after another.

        Text prompts that do not depend on the image are one image's for each part.

        Args:
            parts: prompts of the same form.
            images: how many images each is for.
        """
        batch = parts[0].batch

        def text(*vectors: Tensor) -> Tensor:
            count = batch or 1
            full = [v.expand(count, *(v.shape[1:] if v.dim() == 4 else v.shape)) for v in vectors]
            joined = torch.cat(full)
            return joined if joined.dim() == 4 else joined[:, None]

        def image(*vectors: Tensor) -> Tensor:
            return torch.cat([v.expand(images, *v.shape[-2:]) for v in vectors])

        return cls.by_block(
            map(text, *(part.text_vectors for part in parts)),
            map(image, *(part.image_vectors for part in parts)),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> "Prompts":
        """Return the prompts that ``function`` makes of each tensor."""
        return self._map(function, function)

    def with_vectors(self, vectors: Iterable[Tensor]) -> "Prompts":
        """Return prompts of the same form from other tensors in the order of ``vectors``."""
        remaining = iter(vectors)
        return self.map(lambda _: next(remaining))

    def _map(
        self, text: Callable[[Tensor], Tensor], image: Callable[[Tensor], Tensor]
    ) -> "Prompts":
        first_text = None if self.text is None else text(self.text)
        deep_text = tuple(map(text, self.deep_text))
        first_image = None if self.image is None else image(self.image)
        return Prompts(first_text, first_image, deep_text, tuple(map(image, self.deep_image)))


def is_by_class(text: Tensor) -> bool:
    """Whether a text prompt ``(..., n, width)`` differs from class to class."""
    return text.dim() > 2 and text.shape[-3] > 1


def _same(vectors: Tensor) -> Tensor:
    return vectors


class PromptLearner(nn.Module):
    """Turns its own parameters into ``Prompts``; it knows neither labels nor losses.

    A learner is registered under a name, and its keyword-only arguments are its options::

        @PROMPT_LEARNERS.register("mine")
        class Mine(PromptLearner):
            def __init__(self, clip: Backbone, classnames: Sequence[str], *, n_ctx: int = 4):
                template, start = context(clip, "a photo of a", n_ctx)
                super().__init__(template, n_ctx)
                self.context = nn.Parameter(start)

            def forward(self, image_features: Tensor | None = None) -> Prompts:
                return Prompts(text=self.context)

    ``template`` is the sentence around a class name; its first ``n_context`` tokens after the
    start token are the places of the learned vectors, which ``position`` moves relative to the
    name ("end": the name comes last, as in "a photo of a {}."). A learner whose prompts depend on
    the image sets ``conditional`` and is given unit image features ``(batch, dim)``. One that reads
    the pictures themselves, by a tower of its own, sets ``needs_images``; otherwise a batch whose
    features are known already, from ``CACHE.DIR``, comes without its pictures.
    """

    conditional = False
    needs_images = False
    position = "end"

    def __init__(self, template: str, n_context: int = 0):
        """Set the sentence.

        Args:
            template: a sentence with ``{}`` for the class name.
            n_context: how many of its first tokens the learned vectors replace.
        """
        super().__init__()
        self.template = template
        self.templates = (template,)  # several: an ensemble, of a learner without context
        self.n_context = n_context

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        """Return the prompts, from this module's parameters alone unless ``conditional``."""
        raise UserError(
            f"{place(type(self))} does not define forward(), which returns Prompts, such as "
            "Prompts(text=self.context)"
        )

    def for_classes(self, classnames: Sequence[str]) -> "PromptLearner":
        """Return the learner to use with some class names; by default this one.

        For those of the constructor it is this one, which is trained. If ``text`` prompts differ
        from class to class, it is another one for others, or ``UserError`` if there is none.
        """
        return self

    def token_rows(self) -> set[str]:
        """Return the names of the parameters that are prompt vectors ``(..., n, width)``.

        They are the learner's own parameters and those in its ``ParameterList``s; the parameters
        of any other sub-module are the weights of a network.
        """
        rows = set()
        for prefix, module in self.named_modules():
            if module is self or isinstance(module, nn.ParameterList):
                dot = f"{prefix}." if prefix else ""
                rows |= {dot + name for name, _ in module.named_parameters(recurse=False)}
        return rows


def random_vectors(*shape: int) -> nn.Parameter:
    """Return fresh prompt vectors from N(0, 0.02^2), as in all of the field's official code."""
    return nn.Parameter(torch.randn(*shape) * 0.02)


def context(clip: Backbone, phrase: str, n: int) -> tuple[str, Tensor]:
    """Return the template that goes with ``n`` context vectors, and their start ``(n, width)``.

    With a ``phrase`` such as "a photo of a" the vectors start at the embeddings of its first ``n``
    tokens, and further words of it stay in the sentence as they are. A phrase of fewer words comes
    last, and the vectors before it start at 0, as in ProGrad. Without a phrase the vectors are
    drawn from N(0, 0.02^2). In the template an "X" is the place of a vector without a word.
    """
    if n < 1:
        raise UserError(f"the number of context vectors is {n}, but must be at least 1")
    if not phrase:
        return " ".join(["X"] * n) + " {}.", random_vectors(n, clip.text_width).detach()
    # Counted in words, as the official code does: of "a type of pet, a photo of a", eight words and
    # nine tokens, the ninth token then stays in the sentence as it is.
    empty = max(0, n - len(phrase.split()))
    words = clip.embed_words(phrase)[: n - empty]
    start = torch.cat([words.new_zeros(empty, clip.text_width), words])
    return "X " * empty + phrase + " {}.", start


def deep_context(clip: Backbone, phrase: str, n: int, depth: int) -> tuple[str, nn.ParameterList]:
    """Return a template and ``n`` context vectors for each of ``depth`` text blocks.

    The first block's start as ``context`` has it, the others' are random.
    """
    template, start = context(clip, phrase, n)
    vectors = nn.ParameterList([nn.Parameter(start)])
    vectors.extend(random_vectors(n, clip.text_width) for _ in range(depth - 1))
    return template, vectors


def fitting_depth(given: int, blocks: int, option: str, *, default: int, least: int = 0) -> int:
    """Return how many blocks are given prompts of their own: a default depth follows the tower.

    Args:
        blocks: those of the tower.
        default: the option's default, which means at most so many.

    Raises:
        UserError: another depth than the default, that the tower does not have.
    """
    if given == default and 0 < blocks < default:
        logger.info(f"{option} is {default} by default, and {blocks} here: the tower has no more")
        return blocks
    check_depth(given, blocks, option, least)
    return given


def check_depth(given: int, blocks: int, option: str, least: int = 0) -> None:
    """Raise ``UserError`` unless so many blocks can be given prompts of their own."""
    if given and not blocks:
        raise UserError(
            f"{option} is {given}, but this backbone's image tower takes no image prompts; "
            "use a text-only learner such as coop"
        )
    if not 0 <= given <= blocks:
        raise UserError(f"{option} is {given}, but this backbone's tower has {blocks} blocks")
    if given < least:
        raise UserError(f"{option} is {given}, but must be at least {least}")
