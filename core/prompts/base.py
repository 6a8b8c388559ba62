"""What every prompt learner shares: the value it returns and how context vectors start."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError


@dataclass(frozen=True)
class Prompts:
    """What CLIP's towers are given besides images and class names; empty: CLIP as it is.

    ``text`` takes the place of the context words: ``(n, width)`` shared by all classes,
    ``(classes, n, width)`` class-specific, or ``(batch, 1 or classes, n, width)`` when it depends
    on the image. ``image`` is ``(n, width)``, or ``(batch, n, width)``, appended to the patches.
    ``deep_text`` and ``deep_image`` hold one such tensor for each further block, from the second
    on, which replaces what the block before made of the prompt.
    """

    text: Tensor | None = None
    image: Tensor | None = None
    deep_text: tuple[Tensor, ...] = ()
    deep_image: tuple[Tensor, ...] = ()


class PromptLearner(nn.Module):
    """Turns its own parameters into ``Prompts``; it knows neither labels nor losses.

    ``template`` is the sentence around a class name; its first ``n_context`` tokens after the
    start token are the places of the learned vectors, which ``position`` moves relative to the
    name ("end": the name comes last, as in "a photo of a {}."). A learner whose prompts depend on
    the picture sets ``conditional`` and gets unit image features ``(batch, dim)``.
    """

    conditional = False
    position = "end"

    def __init__(self, template: str, n_context: int = 0):
        super().__init__()
        self.template = template
        self.templates = (template,)  # more than one: an ensemble, of a learner without context
        self.n_context = n_context

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        """Return the prompts, from this module's parameters alone unless ``conditional``."""
        raise TypeError(f"{type(self).__name__} does not define forward()")

    def for_classes(self, classnames: tuple[str, ...]) -> "PromptLearner":
        """Return the learner to use with other class names; by default this one."""
        return self

    def token_rows(self) -> set[str]:
        """Names of the parameters that are prompt vectors ``(..., n, width)``.

        They are the learner's own parameters and those in its ``ParameterList``s; what stands in
        any other sub-module is the weights of a network.
        """
        rows = set()
        for prefix, module in self.named_modules():
            if module is self or isinstance(module, nn.ParameterList):
                dot = f"{prefix}." if prefix else ""
                rows |= {dot + name for name, _ in module.named_parameters(recurse=False)}
        return rows


def random_vectors(*shape: int) -> nn.Parameter:
    """Fresh prompt vectors from N(0, 0.02^2), as in all of the field's official code."""
    return nn.Parameter(torch.randn(*shape) * 0.02)


def context(clip, phrase: str, n: int) -> tuple[str, Tensor]:
    """Return the template that goes with ``n`` context vectors and their start ``(n, width)``.

    With a ``phrase`` such as "a photo of a" the vectors start at the embeddings of its first ``n``
    tokens, and further words of it stay in the sentence as they are. Where it is too short, its
    words stand last and the vectors before them start at 0, as ProGrad has it. Without a phrase
    the vectors are drawn from N(0, 0.02^2). "X" holds the place of a vector without a word.
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


def check_depth(given: int, blocks: int, option: str) -> None:
    """Raise ``UserError`` unless so many blocks can be given prompts of their own."""
    if given and not blocks:
        raise UserError(
            f"{option} is {given}, but this backbone's image tower takes no image prompts; "
            "use a text-only learner such as coop"
        )
    if not 0 <= given <= blocks:
        raise UserError(f"{option} is {given}, but this backbone's tower has {blocks} blocks")
