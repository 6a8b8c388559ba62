"""The numbers of steps, read from the device together: reading each would make it wait."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from softprompt.core.engine.recorder import Recorder, check_finite, raise_not_finite

MOST = 100  # steps after which they are read, whatever is printed


class Reading(NamedTuple):
    """What a step has left on the device."""

    step: int
    epoch: int
    where: str  # such as "in epoch 1, batch 2"
    lr: float
    terms: tuple[str, ...]
    tensors: tuple[str, ...]
    values: Tensor  # (terms + tensors,): the terms, and 1 for each tensor that is finite


class Readings:
    """Keeps the terms of steps, and whether the tensors after them are finite, until read."""

    def __init__(self, recorder: Recorder, advice: Callable[[], str], proven: Callable[[], None]):
        """Keep nothing yet.

        Args:
            recorder: gets every step, in order.
            advice: returns what is saved and what may help, for a training that has diverged.
            proven: called for each step whose terms are finite.
        """
        self._recorder = recorder
        self._advice = advice
        self._proven = proven
        self._kept: list[Reading] = []

    def keep(
        self,
        step: int,
        epoch: int,
        where: str,
        lr: float,
        terms: dict[str, Tensor],
        tensors: dict[str, Tensor],
    ) -> None:
        """Keep the terms of a step and whether each tensor is finite after it."""
        found = [value.detach().reshape(1) for value in terms.values()]
        found += [value.detach().isfinite().all().reshape(1) for value in tensors.values()]
        self._kept.append(
            Reading(step, epoch, where, lr, tuple(terms), tuple(tensors), torch.cat(found))
        )
        if len(self._kept) >= MOST:
            self.read()

    def read(self) -> dict[str, float]:
        """Read and record what is kept; return the terms of the last step.

        Raises:
            UserError: a term or a tensor is not finite; it names the first such step.
        """
        kept, self._kept = self._kept, []
        values = torch.cat([each.values for each in kept]).tolist() if kept else []
        terms: dict[str, float] = {}
        for each in kept:
            own, values = values[: len(each.values)], values[len(each.values) :]
            terms = dict(zip(each.terms, own, strict=False))
            check_finite(terms, each.where, self._advice)
            self._proven()
            finite = own[len(each.terms) :]
            if not all(finite):
                name = next(n for n, whole in zip(each.tensors, finite, strict=True) if not whole)
                raise_not_finite(name, f"after the step {each.where}", self._advice)
            self._recorder.step(each.step, terms, each.lr, epoch=each.epoch)
        return terms
