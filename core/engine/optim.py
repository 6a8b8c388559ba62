"""The optimizer and the learning-rate schedule of the configuration's ``OPTIM`` node."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from yacs.config import CfgNode

# Adam adds the decay to the gradient (L2), AdamW takes it off the parameter.
ADAMS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
# KgCoOp's code up to August 2023 steps two cosine schedules of one optimizer, each of which
# multiplies the rate by its own factor.
SQUARED = "cosine_squared"


@dataclass(frozen=True)
class Optim:
    """The settings of an optimizer and its schedule; CoOp's are the defaults.

    Attributes:
        fused: take a step in one operation for all tensors, equal up to rounding.
    """

    name: str = "sgd"
    lr: float = 0.002
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "cosine"
    epochs: int = 10
    warmup_epochs: int = 1
    warmup_lr: float = 1e-5
    fused: bool = False

    @classmethod
    def from_config(cls, node: CfgNode) -> "Optim":
        """Return the settings of the configuration's node ``OPTIM``."""
        return cls(
            name=node.NAME,
            lr=node.LR,
            momentum=node.MOMENTUM,
            weight_decay=node.WEIGHT_DECAY,
            nesterov=node.SGD_NESTEROV,
            betas=(node.ADAM_BETA1, node.ADAM_BETA2),
            schedule=node.LR_SCHEDULER,
            epochs=node.MAX_EPOCH,
            warmup_epochs=node.WARMUP_EPOCH,
            warmup_lr=node.WARMUP_CONS_LR,
        )

    def with_(self, **changes) -> "Optim":
        """Return the same settings with ``changes``, for a method's second optimizer."""
        return replace(self, **changes)

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Return a new optimizer of these parameters."""
        fused = True if self.fused else None  # None: torch decides
        if self.name in ADAMS:
            return ADAMS[self.name](
                parameters,
                lr=self.lr,
                betas=self.betas,
                weight_decay=self.weight_decay,
                fused=fused,
            )
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=fused,
        )

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0, by Dassl's schedule.

        Warm-up epochs have a constant rate; then a cosine starts at its top, stretched over *all*
        epochs, so it never reaches 0: ``lr (1 + cos(pi (e - warm-up) / epochs)) / 2``. With
        "cosine_squared" the factor after ``lr`` is squared.
        """
        if epoch < self.warmup_epochs:
            return self.warmup_lr
        if self.schedule == "constant":
            return self.lr
        step = epoch - self.warmup_epochs
        if self.schedule == SQUARED:
            return self.lr * cosine(1.0, step, self.epochs) ** 2
        return cosine(self.lr, step, self.epochs)


def cosine(lr: float, step: int, steps: int) -> float:
    """Return ``lr (1 + cos(pi step / steps)) / 2``: ``lr`` at step 0, 0 at ``steps``."""
    return lr * (1 + math.cos(math.pi * step / steps)) / 2
