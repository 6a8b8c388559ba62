"""ProMetaR: prompts regularized by a meta-learned gate on the regularizer's gradient."""

import math
from contextlib import nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softprompt.core import (
    TRAINERS,
    Batch,
    Optim,
    Trainer,
    imagenet_templates,
    twice_differentiable,
)
from softprompt.core.base.ranges import NotNegative, Positive

GROUP = 8  # neighbouring entries that share one gate, a constant of the official code
TEMPLATES = 60  # the official teacher uses the first 60 of CLIP's 80 ImageNet templates


@TRAINERS.register("prometar")
class ProMetaR(Trainer):
    """Prompt Meta-Regularization: https://arxiv.org/abs/2404.00851.

    Two regularizers hold the prompted features to those of CLIP without prompts,
    ``R = text_weight mean|t - t0| + image_weight mean|v - v0|``. A gate decides, from both
    gradients, how much of the regularizer's gradient each entry follows:
    ``g_hat = g + gate(g, r) * r`` with ``g = dCE/dp`` and ``r = dR/dp``. One batch is

    1. ``plain_step``: a step along ``g_hat`` on the whole batch, then
    2. an episode: one label of the batch is held out as the query, the rest is the support;
       ``p' = p - adapt_lr g_hat`` on the support, and a step of prompts and gate along the
       gradient of ``lr_ratio CE(p')`` on query features mixed with support features.

    The defaults are the released code, whose gate stays at its warm-up rate because its schedule
    is never stepped. A text and an image regularizer that both reach a tensor are added, where the
    official code knows only tensors that one of them reaches. A prompt ``(n, width)`` is gated as
    one block, as there; a class-specific one class by class, and the weights of a sub-network row
    by row, each with one pair of gate maps, so that no gate grows with the square of a matrix.
    """

    def __init__(
        self,
        model,
        *,
        adapt_lr: NotNegative = 5e-4,
        lr_ratio: NotNegative = 5e-4,
        text_weight: NotNegative = 50.0,
        image_weight: NotNegative = 20.0,
        mixup_alpha: Positive = 0.5,
        mixup_beta: Positive = 0.5,
        fast_adaptation: bool = False,
        plain_step: bool = True,
        episode: bool = True,
        gate_lr: NotNegative = 2.5e-4,
        gate_warmup_lr: NotNegative = 1e-6,
        gate_scheduled: bool = False,
    ):
        """Make the gates and the frozen text teacher.

        Args:
            adapt_lr: rate of the inner step.
            lr_ratio: weight of the outer loss.
            text_weight: weight of the text regularizer.
            image_weight: weight of the image regularizer.
            mixup_alpha, mixup_beta: mixing weights are drawn from Beta(alpha, beta).
            fast_adaptation: first order, without the inner step's second derivative.
            plain_step: also step on the whole batch, before the episode.
            episode: run the episode.
            gate_lr, gate_warmup_lr: the gate's rates after and during warm-up.
            gate_scheduled: give the gate the prompts' schedule; without, it keeps its warm-up rate.
        """
        super().__init__(model)
        self.adapt_lr = adapt_lr
        self.lr_ratio = lr_ratio
        self.text_weight = text_weight
        self.image_weight = image_weight
        self.mixup = torch.distributions.Beta(mixup_alpha, mixup_beta)
        self.fast_adaptation = fast_adaptation
        self.plain_step = plain_step
        self.episode = episode
        self.gate_lr = gate_lr
        self.gate_warmup_lr = gate_warmup_lr
        self.gate_scheduled = gate_scheduled

        rows = model.learner.token_rows()
        self.gates = nn.ModuleDict(
            {
                _key(name): Gate(value.shape[-2:] if name in rows else value.shape[-1:])
                for name, value in model.params().items()
            }
        )
        self.to(model.clip.device)
        self.teacher_text = model.zero_shot_text(imagenet_templates(TEMPLATES))  # (classes, dim)

    def prepare(self, optim: Optim) -> None:
        super().prepare(optim)
        self.gate_optim = self.optim.with_(lr=self.gate_lr, warmup_lr=self.gate_warmup_lr)
        self.optimizers["gate"] = self.gate_optim.optimizer(self.gates.parameters())

    def learning_rates(self, epoch: int) -> dict[str, float]:
        gate_epoch = epoch if self.gate_scheduled else 0
        return {**super().learning_rates(epoch), "gate": self.gate_optim.lr_at(gate_epoch)}

    def draw(self, labels: Tensor) -> dict[str, Tensor]:
        """Draw an episode: one label is the query, each of its images is mixed with a partner.

        Returns:
            ``query`` and ``support``: places in the batch; ``partner`` (query,): places in the
            support; ``weight`` (query,): the query's share of the mixture. Nothing where the batch
            has one label.
        """
        distinct = torch.unique(labels)
        if not self.episode or len(distinct) < 2:
            return {}
        held_out = distinct[torch.randperm(len(distinct))][0]
        query, support = (labels == held_out).nonzero()[:, 0], (labels != held_out).nonzero()[:, 0]
        weight = self.mixup.sample((len(query),))
        partner = torch.randint(len(support), (len(query),))
        return {"query": query, "support": support, "partner": partner, "weight": weight}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        teacher_image = self.model.zero_shot_image(batch)  # (batch, dim)
        log = self.step_on_all(batch, teacher_image) if self.plain_step else {}
        if self.drawn(batch):
            outer = self.outer_loss(batch, teacher_image)
            trained = {**self.model.params(), **dict(self.gates.named_parameters())}
            found = self.gradients(self.lr_ratio * outer, trained, retain_graph=False)
            gate = {name: found.pop(name) for name, _ in self.gates.named_parameters()}
            self.update(found)
            self.update(gate, "gate")
            log["outer"] = outer.detach()
        return log | ({"loss": cast(Tensor, sum(log.values()))} if log else {})

    def step_on_all(self, batch: Batch, teacher_image: Tensor) -> dict[str, Tensor]:
        """Step along the whole batch's ``g_hat``, and return the terms without their graph."""
        (ce, text, image), g_hat = self.modulated(batch, teacher_image, self.model.params())
        self.update(g_hat)
        return {"ce": ce.detach(), "text": text.detach(), "image": image.detach()}

    def losses(
        self,
        batch: Batch,
        teacher_image: Tensor,
        params: dict[str, Tensor] | None = None,
        other: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return cross-entropy and the weighted text and image regularizers at ``params``.

        Args:
            other: tensors of the same values, of which the regularizers are taken instead.
        """
        if params is None or other is None:
            features = held = self.model(batch, params)
        else:
            features, held = self.model.at_each(batch, (params, other))
        ce = F.cross_entropy(features.logits, batch.labels)
        text = F.l1_loss(held.text, self.teacher_text.expand_as(held.text))
        image = F.l1_loss(held.image, teacher_image)
        return ce, self.text_weight * text, self.image_weight * image

    def modulated(
        self,
        batch: Batch,
        teacher_image: Tensor,
        params: dict[str, Tensor],
        create_graph: bool = False,
    ) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
        """Return the losses at ``params`` and ``g_hat = g + gate(g, r) * r`` for each tensor."""
        if self.model.clip.launch_bound:
            # Two copies of the batch, one for each gradient, are one pass backward.
            own, other = ({n: v.view_as(v) for n, v in params.items()} for _ in range(2))
            losses = ce, text, image = self.losses(batch, teacher_image, own, other)
            both = {**own, **{_other(name): value for name, value in other.items()}}
            g = self.gradients(ce + text + image, both, create_graph, retain_graph=False)
            r = {name: g.pop(_other(name)) for name in params}
            return losses, gated_together(self.gates, g, r)
        losses = ce, text, image = self.losses(batch, teacher_image, params)
        g = self.gradients(ce, params, create_graph)
        r = self.gradients(text + image, params, create_graph, retain_graph=False)
        gates = {name: self.gates[_key(name)](g[name], r[name]) for name in g}
        return losses, {name: g[name] + gates[name] * r[name] for name in g}

    def outer_loss(self, batch: Batch, teacher_image: Tensor) -> Tensor:
        """Adapt to all labels of the batch but one, and return the loss on that one, mixed."""
        drawn = self.drawn(batch)
        weight, partner = drawn["weight"], drawn["partner"]  # (query,)
        images, others = batch.images[drawn["query"]], batch.images[drawn["support"]]
        labels, other_labels = batch.labels[drawn["query"]], batch.labels[drawn["support"]]

        params = self.model.params()
        # Only this pass is differentiated twice, so only it goes without fused attention.
        with nullcontext() if self.fast_adaptation else twice_differentiable():
            _, g_hat = self.modulated(
                Batch(others, other_labels),
                teacher_image[drawn["support"]],
                params,
                create_graph=not self.fast_adaptation,
            )
        if self.model.clip.launch_bound:
            adapted = stepped_together(params, g_hat, self.adapt_lr)
        else:
            adapted = {n: v - self.adapt_lr * g_hat[n] for n, v in params.items()}

        image, text = self.model.encode(torch.cat([images, others[partner]]), adapted)
        own, other = image.chunk(2)  # (query, dim) each, not normalized
        mixed = weight[:, None] * own + (1 - weight)[:, None] * other
        text = text[: len(own)] if text.dim() == 3 else text  # prompts by image: the query's
        logits = self.model.compare(mixed, text).logits
        here = F.cross_entropy(logits, labels, reduction="none")
        there = F.cross_entropy(logits, other_labels[partner], reduction="none")
        return (weight * here + (1 - weight) * there).mean()


class Gate(nn.Module):
    """``sigmoid(W2 W1 [vec(g); vec(r)])``, one value for every ``GROUP`` entries of a block."""

    def __init__(self, block: torch.Size):
        super().__init__()
        self.entries = math.prod(block)
        groups = math.ceil(self.entries / GROUP)
        self.first = nn.Linear(2 * self.entries, groups, bias=False)
        self.second = nn.Linear(groups, groups, bias=False)

    def forward(self, g: Tensor, r: Tensor) -> Tensor:
        z = torch.cat([g.reshape(-1, self.entries), r.reshape(-1, self.entries)], dim=-1)
        gate = torch.sigmoid(self.second(self.first(z)))  # (blocks, groups)
        return gate.repeat_interleave(GROUP, dim=-1)[:, : self.entries].reshape(g.shape)


def gated_together(
    gates: nn.ModuleDict, g: dict[str, Tensor], r: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return ``g + gate(g, r) * r`` by name, for all tensors of one shape at once."""
    found = {}
    by_name = {name: cast(Gate, gates[_key(name)]) for name in g}
    for alike in _alike(g, {name: gate.entries for name, gate in by_name.items()}):
        own = [by_name[name] for name in alike]
        first, second = (
            torch.stack([getattr(gate, layer).weight for gate in own]).mT
            for layer in ("first", "second")
        )  # (tensors, in, groups)
        each, other = (torch.stack([by[name] for name in alike]) for by in (g, r))
        z = [x.reshape(len(own), -1, own[0].entries) for x in (each, other)]
        gate = torch.sigmoid(torch.cat(z, dim=-1) @ first @ second)  # (tensors, blocks, groups)
        gate = gate.repeat_interleave(GROUP, dim=-1)[..., : own[0].entries].reshape(each.shape)
        found |= zip(alike, torch.addcmul(each, gate, other).unbind(), strict=True)
    return {name: found[name] for name in g}


def stepped_together(
    values: dict[str, Tensor], steps: dict[str, Tensor], rate: float
) -> dict[str, Tensor]:
    """Return ``value - rate * step`` by name, for all tensors of one shape at once."""
    found = {}
    for alike in _alike(values):
        each, other = (torch.stack([by[name] for name in alike]) for by in (values, steps))
        found |= zip(alike, each.sub(other, alpha=rate).unbind(), strict=True)
    return {name: found[name] for name in values}


def _alike(values: dict[str, Tensor], *sizes: dict[str, int]) -> list[list[str]]:
    """Return the names of tensors that share a shape, and have the same of some sizes."""
    groups: dict[tuple, list[str]] = {}
    for name, value in values.items():
        groups.setdefault((value.shape, *(size[name] for size in sizes)), []).append(name)
    return list(groups.values())


def _key(name: str) -> str:
    return name.replace(".", "/")  # a module's name cannot hold a dot


def _other(name: str) -> str:
    return f"other/{name}"
