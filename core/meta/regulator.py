"""The regulator: which gradients of a learner it changes, and by which function."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.ranges import Count
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.prompted import example_prompts
from softprompt.core.meta.forms import FORMS
from softprompt.core.prompts.base import PromptLearner


class Row(NamedTuple):
    """The token rows of a parameter."""

    tower: str  # "text" or "image"
    width: int


def token_rows(learner: PromptLearner, clip: FrozenCLIP) -> dict[str, Row]:
    """Return the tower and width of each parameter that holds prompt vectors ``(..., n, width)``.

    The learner declares these parameters, and its ``Prompts`` show which tower each one reaches. A
    vector that reaches the text tower is a text vector, even if image prompts are computed from it
    as well, as in MaPLe.
    """
    params = dict(learner.named_parameters())
    rows = {name: value for name, value in params.items() if name in learner.token_rows()}
    if not rows:
        return {}
    prompts = example_prompts(learner, clip)
    reached = {
        "text": _reached(prompts.text_vectors, rows),
        "image": _reached(prompts.image_vectors, rows),
    }
    return {
        name: Row(tower, value.shape[-1])
        for name, value in rows.items()
        if (tower := next((t for t, names in reached.items() if name in names), None))
    }


def _reached(vectors: tuple[Tensor, ...], rows: Mapping[str, Tensor]) -> set[str]:
    """Return the names of the rows that some vectors depend on."""
    total = sum(v.sum() for v in vectors)
    if not isinstance(total, Tensor) or not total.requires_grad:
        return set()
    found = torch.autograd.grad(total, list(rows.values()), allow_unused=True)
    return {name for name, gradient in zip(rows, found, strict=True) if gradient is not None}


class Regulator(nn.Module):
    """One regulating function for each tower, or layer, applied to every token row of a gradient.

    The task condition is a mean image feature ``(dim,)`` of CLIP without prompts. Tensors that are
    not token rows, such as CoCoOp's network or MaPLe's projections, pass unchanged.
    """

    def __init__(
        self,
        rows: dict[str, Row],
        dim: int,
        *,
        form: Annotated[str, tuple(FORMS)] = "id_rms",
        rank: Count = 64,
        per_layer: bool = False,
    ):
        """Draw the functions' initial weights.

        Args:
            rows: of each parameter to regulate, as ``token_rows`` returns them.
            dim: width of the task condition.
            form: "id_rms", "none", "supmer" or "film".
            rank: of the low-rank layers of "id_rms".
            per_layer: give each tensor of prompts, and so each layer, a function of its own.

        Raises:
            UserError: there is no such form, or the rank is below 1.
        """
        super().__init__()
        if form not in FORMS:
            raise UserError(f"META.REGULATOR.FORM is {form!r}; it takes {', '.join(FORMS)}")
        if rank < 1:
            raise UserError(f"META.REGULATOR.RANK is {rank}, but must be at least 1")
        self.form = form
        self.rank = rank
        self.per_layer = per_layer
        self.keys = {
            name: name.replace(".", "_") if per_layer else f"{row.tower}_{row.width}"
            for name, row in rows.items()
        }
        widths = {self.keys[name]: row.width for name, row in rows.items()}
        build = FORMS[form]
        self.functions = nn.ModuleDict(
            {key: build(width, dim, rank) for key, width in sorted(widths.items())} if build else {}
        )

    def forward(self, gradients: dict[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """Return the regulated gradients under the same names."""
        if not self.functions:
            return gradients
        return {
            name: self.functions[self.keys[name]](gradient, condition)
            if name in self.keys
            else gradient
            for name, gradient in gradients.items()
        }

    def openness(self, condition: Tensor) -> Tensor | None:
        """Return the gates' mean value, the share of the raw gradient; None without gates."""
        gates = [
            function.get_submodule("gate")(condition)
            for function in self.functions.values()
            if hasattr(function, "gate")
        ]
        return torch.stack(gates).mean() if gates else None
