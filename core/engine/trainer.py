"""The base class of training methods: a loss, or a step on gradients. The loop is in loop.py."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import place
from softprompt.core.clip.gradients import gradients
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.data.batch import Batch
from softprompt.core.engine.optim import Optim

HALF_PRECISION_SCALE = 2.0**12
TERMS = 'a dict of scalar tensors by name, such as {"ce": F.cross_entropy(logits, batch.labels)}'


class Trainer(nn.Module):
    """Base class of training methods: override ``loss``, or ``step`` to work on gradients.

    To add one, register a subclass, in a file that PLUGINS lists. Its constructor takes the model;
    what follows the ``*`` are its options, here ``TRAINER.SMOOTH.AMOUNT``::

        import torch.nn.functional as F
        from softprompt.core import TRAINERS, Trainer

        @TRAINERS.register("smooth")
        class Smooth(Trainer):
            '''Cross entropy with smoothed labels.'''

            def __init__(self, model, *, amount: float = 0.1):
                super().__init__(model)
                self.amount = amount

            def loss(self, batch):
                logits = self.model(batch).logits  # (batch, classes)
                ce = F.cross_entropy(logits, batch.labels, label_smoothing=self.amount)
                return {"ce": ce}

    The loop calls ``prepare`` once, ``start_epoch`` before each epoch, ``step`` for each batch and
    ``after_epoch`` after each epoch. ``step`` calls ``loss``, ``gradients`` and ``update``.

    A network or buffer of the method's own, set as an attribute, is saved for resuming. To train
    it, extend ``prepare`` and ``learning_rates``, and ``update`` its optimizer in ``step``. Random
    draws (``torch.rand`` and the like) are reproducible: the loop seeds torch for the method alone;
    data and initialization have generators of their own.

    Attributes:
        model: the prompted CLIP, of whose parameters only ``model.learner``'s are trained.
        optimizers: by name; "prompts" is made by ``prepare``.
        note: what the log and ``results.json`` say of this run in addition to its options.
        warnings: what a reader of the run's numbers must know; the loop fills it.
    """

    note: str = ""
    loss_scale: Tensor

    def __init__(self, model: PromptedCLIP):
        super().__init__()
        self.model = model
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.warnings: list[str] = []
        self.scaled = model.clip.precision == "fp16"  # small gradients would vanish
        scale = HALF_PRECISION_SCALE if self.scaled else 1.0
        self.register_buffer("loss_scale", torch.tensor(scale))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the named terms whose sum is minimized, at least one, each a scalar."""
        raise UserError(
            f"{place(type(self))} defines neither loss() nor step(); loss(batch) returns {TERMS}"
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch; return the scalar tensors to log by name, or an empty dict."""
        terms = self.loss(batch)
        check_terms(self, "loss", terms)
        if not terms:
            raise UserError(f"{place(type(self))}: loss() returned no term; it must return {TERMS}")
        total: Any = sum(terms.values())
        self.update(self.gradients(total, retain_graph=False))
        return terms

    def draw(self, labels: Tensor) -> dict[str, Tensor]:
        """Draw what a step needs that is random or depends on labels; by default nothing.

        The loop calls it before each step, so that a step reads nothing from the device.

        Args:
            labels: those of the batch, ``(batch,)``, on the CPU.

        Returns:
            Tensors by name, on the CPU; ``drawn(batch)`` has them on the batch's device.
        """
        return {}

    def drawn(self, batch: Batch) -> dict[str, Tensor]:
        """Return what ``draw`` drew for a batch, on its device; draw it if that is not done."""
        if batch.drawn is None:
            found = self.draw(batch.host_labels)
            device = batch.labels.device
            batch.drawn = {n: v.to(device, non_blocking=True) for n, v in found.items()}
        return batch.drawn

    def after_epoch(self, epoch: int) -> None:
        """Do something after an epoch, counted from 0; by default nothing."""

    def prepare(self, optim: Optim) -> None:
        """Create the optimizers; called once, before the first step.

        Raises:
            UserError: the prompt learner has no parameters, or one that takes no gradient.
        """
        self.optim = optim = optim.with_(fused=self.model.clip.launch_bound)
        trained = list(self.model.learner.parameters())
        frozen = [n for n, p in self.model.learner.named_parameters() if not p.requires_grad]
        if frozen:
            raise UserError(
                f"{place(type(self.model.learner))}: its parameter {frozen[0]} takes no gradient; "
                "every nn.Parameter of a learner is trained, so keep what is fixed by "
                "self.register_buffer(name, value)"
            )
        if not trained:
            raise UserError(
                f"the prompt learner {place(type(self.model.learner))} has nothing to train, no "
                "nn.Parameter; evaluate it with --eval-only, or choose another PROMPT.NAME"
            )
        self.optimizers = {"prompts": optim.optimizer(trained)}

    def learning_rates(self, epoch: int) -> dict[str, float]:
        """Return the learning rate of each optimizer in an epoch, counted from 0."""
        return {"prompts": self.optim.lr_at(epoch)}

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rates of an epoch, counted from 0."""
        for name, rate in self.learning_rates(epoch).items():
            for group in self.optimizers[name].param_groups:
                group["lr"] = rate

    def gradients(
        self,
        loss: Tensor,
        params: dict[str, Tensor] | None = None,
        create_graph: bool = False,
        retain_graph: bool = True,
    ) -> dict[str, Tensor]:
        """Return d loss / d p by name, for every p in ``params``, by default the prompts.

        Args:
            create_graph: the gradients will be differentiated again.
            retain_graph: False saves memory if no other gradient of the same graph follows.
        """
        params = self.model.params() if params is None else params
        scale = self.loss_scale if self.scaled else None
        return gradients(loss, params, create_graph, retain_graph, scale=scale)

    def update(self, gradients: dict[str, Tensor], optimizer: str = "prompts") -> None:
        """Take a step of an optimizer.

        In fp16 a step whose gradients overflow changes nothing but the loss scale, which is halved.

        Args:
            gradients: in the order of the optimizer's parameters.
            optimizer: its name in ``optimizers``.
        """
        stepped = self.optimizers[optimizer]
        trained = [p for group in stepped.param_groups for p in group["params"]]
        agreed = parallel.broadcast_from_main(list(gradients.values()))
        for parameter, gradient in zip(trained, agreed, strict=True):
            parameter.grad = gradient.detach()
        with self._unless_overflown(stepped, agreed) if self.scaled else nullcontext():
            stepped.step()
        stepped.zero_grad()

    @contextmanager
    def _unless_overflown(
        self, optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor]
    ) -> Iterator[None]:
        """Take the optimizer's step back, and halve the scale, where a gradient is not finite.

        A scale of 1 is no cause of that, so such a step is taken, and the loop finds it. All of it
        is computed where the gradients are: nothing waits to know whether it was so.
        """
        finite = torch.stack([torch.isfinite(g).all() for g in gradients]).all()
        taken = finite | (self.loss_scale <= 1)
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in trained]
        states = [
            {k: v.clone() for k, v in optimizer.state[p].items() if isinstance(v, Tensor)}
            for p in trained
        ]
        yield
        with torch.no_grad():
            self.loss_scale.copy_(torch.where(taken, self.loss_scale, self.loss_scale / 2))
            for parameter, old, state in zip(trained, before, states, strict=True):
                parameter.copy_(torch.where(taken, parameter, old))
                for name, value in optimizer.state[parameter].items():
                    if isinstance(value, Tensor):
                        # What the first step makes, such as momentum, starts as zeros.
                        earlier = state.get(name, torch.zeros_like(value))
                        value.copy_(torch.where(taken.to(value.device), value, earlier))


def check_terms(trainer: Trainer, method: str, terms: Any) -> None:
    """Raise ``UserError`` unless a trainer's method returned named scalar tensors.

    Args:
        method: its name, "loss" or "step".
        terms: the returned value.
    """
    if isinstance(terms, dict):
        wrong = next((f"{n!r}: {_kind(v)}" for n, v in terms.items() if not _is_term(n, v)), "")
        wrong = f"a dict with {wrong}" if wrong else ""
    else:
        wrong = _kind(terms)
    if wrong:
        raise UserError(
            f"{place(type(trainer))}: {method}() returned {wrong}; it must return {TERMS}"
        )


def _is_term(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.numel() == 1


def _kind(value: Any) -> str:
    """Return what a value is, in a few words."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a value of type {type(value).__name__}"
