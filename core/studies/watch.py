"""Observing a training step from outside: its random draws are replayed, its numbers recorded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from softprompt.core.engine.trainer import Trainer

LOSSES = ("cross_entropy", "l1_loss", "kl_div")


@contextmanager
def replay_draws(draws: list) -> Iterator[None]:
    """Let torch's random functions return recorded values, in order.

    Args:
        draws: pairs of a function's name and the values that it returned.

    Raises:
        ValueError: another function is called than the one recorded.
    """
    left = iter(draws)

    def replacement(wanted: str) -> Callable:
        def draw(*_, **__):
            name, values = next(left, ("nothing", []))
            if name != wanted:
                raise ValueError(f"the method draws {wanted}, the record says {name}")
            return torch.tensor(values)

        return draw

    beta = torch.distributions.Beta
    original = torch.randperm, torch.randint, beta.sample
    torch.randperm, torch.randint = replacement("randperm"), replacement("randint")
    beta.sample = replacement("Beta.sample")
    try:
        yield
    finally:
        torch.randperm, torch.randint, beta.sample = original


@contextmanager
def record_step(trainer: Trainer) -> Iterator[dict[str, list]]:
    """Yield the numbers of one training step, which are filled in while it runs.

    ``losses`` are (function, value) pairs in the order of their calls; ``updates`` hold for each
    step of an optimizer its rate and the gradients and new values of its tensors by name; ``raw``
    are the gradients by name of each call of ``trainer.gradients``.
    """
    seen: dict[str, list] = {"losses": [], "updates": [], "raw": []}
    names = {id(value): name for name, value in trainer.model.params().items()}
    names |= {
        id(value): name
        for name, value in trainer.named_parameters()
        if not name.startswith("model.")
    }
    losses = {name: getattr(F, name) for name in LOSSES}

    def recording_loss(name: str) -> Callable:
        def loss(*args, **kwargs):
            value = losses[name](*args, **kwargs)
            seen["losses"].append((name, value.detach().tolist()))
            return value

        return loss

    def recording_step(optimizer: torch.optim.Optimizer, step: Callable) -> Callable:
        def recorded(*args, **kwargs):
            group = optimizer.param_groups[0]
            grads = {names[id(p)]: p.grad.clone() for p in group["params"]}
            value = step(*args, **kwargs)
            after = {names[id(p)]: p.detach().clone() for p in group["params"]}
            seen["updates"].append({"lr": group["lr"], "grads": grads, "after": after})
            return value

        return recorded

    raw = trainer.gradients

    def recording_gradients(*args, **kwargs):
        found = raw(*args, **kwargs)
        seen["raw"].append({name: value.detach().clone() for name, value in found.items()})
        return found

    # Any: methods are replaced on the instances, which only hold in this context
    watched: Any = trainer
    optimizers: list[Any] = list(trainer.optimizers.values())
    steps = [optimizer.step for optimizer in optimizers]
    for name in LOSSES:
        setattr(F, name, recording_loss(name))
    for optimizer, step in zip(optimizers, steps, strict=True):
        optimizer.step = recording_step(optimizer, step)
    watched.gradients = recording_gradients
    try:
        yield seen
    finally:
        for name, loss in losses.items():
            setattr(F, name, loss)
        for optimizer, step in zip(optimizers, steps, strict=True):
            optimizer.step = step
        del watched.gradients
