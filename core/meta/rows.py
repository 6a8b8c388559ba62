"""Which of a learner's tensors are token rows, and of which tower."""

from typing import NamedTuple

import torch
from torch import Tensor

from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.prompted import example_prompts
from softprompt.core.prompts.base import PromptLearner


class Row(NamedTuple):
    tower: str  # "text" or "image"
    width: int


def token_rows(learner: PromptLearner, clip: FrozenCLIP) -> dict[str, Row]:
    """Return the tower and width of each parameter that holds prompt vectors ``(..., n, width)``.

    Which ones do is what the learner declares. A vector that reaches the text tower is a text
    vector, even if image prompts are made of it as well, as in MaPLe; the learner's ``Prompts``
    show what reaches where.
    """
    params = dict(learner.named_parameters())
    rows = {name: value for name, value in params.items() if name in learner.token_rows()}
    if not rows:
        return {}
    prompts = example_prompts(learner, clip)
    reached = {
        "text": _reached((prompts.text, *prompts.deep_text), rows),
        "image": _reached((prompts.image, *prompts.deep_image), rows),
    }
    return {
        name: Row(tower, value.shape[-1])
        for name, value in rows.items()
        if (tower := next((t for t, names in reached.items() if name in names), None))
    }


def _reached(vectors: tuple[Tensor | None, ...], rows: dict[str, Tensor]) -> set[str]:
    total = sum(v.sum() for v in vectors if v is not None)
    if not isinstance(total, Tensor) or not total.requires_grad:
        return set()
    found = torch.autograd.grad(total, list(rows.values()), allow_unused=True)
    return {name for name, gradient in zip(rows, found, strict=True) if gradient is not None}
