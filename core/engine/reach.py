"""Find the trained tensors that a method's loss does not reach, while it takes its first step."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.engine.trainer import Trainer

NAMED = 8  # tensors that a warning names
ZERO = (
    "the gradients of {} are zero for all {} trained tensors in the first step, so nothing but the "
    "weight decay changes them"
)


class Reach:
    """Watch which of a method's trained tensors get a gradient, however the method takes it.

    A tensor is reached if autograd arrives at it, with a gradient of zeros too, so prompts that
    start at a saddle count; or if an optimizer is given a gradient for it that is not zero, such as
    one that the method computes by hand. Watching changes no number.
    """

    def __init__(self, trainer: Trainer):
        """Prepare to watch the learner's tensors and the optimizers that hold any of them."""
        named = trainer.model.learner.named_parameters()
        self.trainer = type(trainer).__name__
        self.tensors = {name: value for name, value in named if value.requires_grad}
        own = {id(value) for value in self.tensors.values()}
        self.optimizers = [
            optimizer
            for optimizer in trainer.optimizers.values()
            if any(id(p) in own for group in optimizer.param_groups for p in group["params"])
        ]
        self.reached: set[str] = set()
        self.stepped = False
        self.nonzero = False  # whether an optimizer was given a gradient other than zeros

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is reached meanwhile."""
        handles = [
            value.register_hook(partial(self._arrive, name)) for name, value in self.tensors.items()
        ]
        handles += [each.register_step_pre_hook(self._note_step) for each in self.optimizers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def warnings(self) -> list[str]:
        """Return a warning that names the tensors without a gradient, or says that all are zero.

        Raises:
            UserError: no tensor has one, so the method would train nothing.
        """
        missed = [name for name in self.tensors if name not in self.reached]
        count = len(self.tensors)
        if not missed:
            return [] if self.nonzero else [ZERO.format(self.trainer, count)]
        if len(missed) == count:
            raise UserError(
                f"the loss of {self.trainer} reaches none of the {count} trained tensors "
                f"({_listed(missed)}), so nothing would be trained; the loss must depend on "
                "self.model(batch) with its graph, and the learner's forward() must return Prompts "
                "made of its parameters"
            )
        return [
            f"the loss of {self.trainer} does not reach {len(missed)} of the {count} trained "
            f"tensors in the first step: {_listed(missed)}"
        ]

    def _arrive(self, name: str, gradient: Tensor | None) -> None:
        if gradient is not None:
            self.reached.add(name)

    def _note_step(self, *_) -> None:
        self.stepped = True
        for name, value in self.tensors.items():
            if value.grad is not None and torch.any(value.grad != 0):
                self.reached.add(name)
                self.nonzero = True


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} others" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
