"""What a training method is: a loss, or a step on gradients; the loop around it is in loop.py."""

import torch
from torch import Tensor, nn

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.clip.gradients import gradients
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.data.batch import Batch
from softprompt.core.engine.optim import Optim

HALF_PRECISION_SCALE = 2.0**12


class Trainer(nn.Module):
    """A method. Override ``loss``, or ``step`` to work on gradients.

    A network or buffer of the method's own, set as an attribute, is saved for resuming. To train
    it, extend ``prepare``. Random draws (``torch.rand`` and the like) are reproducible: the loop
    seeds torch for the method alone; data and initialization have generators of their own.
    """

    note = ""  # what the log and the results say of this run beside its options

    def __init__(self, model: PromptedCLIP):
        super().__init__()
        self.model = model
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        half = model.clip.precision == "fp16"
        self.register_buffer("loss_scale", torch.tensor(HALF_PRECISION_SCALE if half else 1.0))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the named terms whose sum is minimized."""
        raise TypeError(f"{type(self).__name__} defines neither loss() nor step()")

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch and return what to log; "loss", or else the sum, is the headline."""
        terms = self.loss(batch)
        self.update(self.gradients(sum(terms.values()), retain_graph=False))
        return terms

    def after_epoch(self, epoch: int) -> None:
        """Called when an epoch, counted from 0, has ended."""

    def prepare(self, optim: Optim) -> None:
        """Make the optimizers; called once, before the first step."""
        self.optim = optim
        trained = list(self.model.learner.parameters())
        if not trained:
            raise UserError(
                "this prompt learner has nothing to train; evaluate it with --eval-only, "
                "or choose another PROMPT.NAME"
            )
        self.optimizers = {"prompts": optim.optimizer(trained)}

    def learning_rates(self, epoch: int) -> dict[str, float]:
        """The learning rate of each optimizer in an epoch, counted from 0."""
        return {"prompts": self.optim.lr_at(epoch)}

    def start_epoch(self, epoch: int) -> None:
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
        """Return d loss / d p by name, for the prompts unless ``params`` says otherwise.

        ``retain_graph=False`` saves memory where no other gradient of the same graph follows.
        """
        params = self.model.params() if params is None else params
        scale = self.loss_scale.item()
        return gradients(loss, params, create_graph, retain_graph, scale=scale)

    def update(self, gradients: dict[str, Tensor], optimizer: str = "prompts") -> None:
        """Step an optimizer along ``gradients``, given in the order of the trained tensors."""
        if self.loss_scale > 1 and not all(torch.isfinite(g).all() for g in gradients.values()):
            self.loss_scale /= 2  # half precision overflowed: skip this step, scale less
            return
        stepped = self.optimizers[optimizer]
        trained = [p for group in stepped.param_groups for p in group["params"]]
        agreed = parallel.broadcast_from_main(list(gradients.values()))
        for parameter, gradient in zip(trained, agreed, strict=True):
            parameter.grad = gradient.detach()
        stepped.step()
        stepped.zero_grad()
