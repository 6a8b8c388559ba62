"""ProMetaR's step with every pass that the official code makes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core.clip.gradients import twice_differentiable
from softprompt.core.data.batch import Batch
from softprompt.trainers.prometar import ProMetaR

Params = dict[str, Tensor]  # by name


class ReferenceProMetaR(ProMetaR):
    """The official ``forward_backward`` with learn2learn's clones: equal numbers, at their cost.

    The teacher runs on batch, support and query; the text and the image regularizer have separate
    gradients, each with a graph; the query pass encodes the whole support and picks its partners.
    """

    def step(self, batch: Batch) -> dict[str, Tensor]:
        with twice_differentiable():  # as in torch 1.9, which had no other attention
            ce, text, image = self._terms(batch)
            self.update(self._modulated(ce, text, image, self.model.params(), create_graph=True))
            log = {"ce": ce, "text": text, "image": image}
            labels = torch.unique(batch.labels)
            if len(labels) > 1:
                clone = [value.clone() for value in self.model.clip.model.parameters()]
                outer = self._outer_loss(batch, labels)
                trained = {**self.model.params(), **dict(self.gates.named_parameters())}
                found = self.gradients(self.lr_ratio * outer, trained)
                gate = {name: found.pop(name) for name, _ in self.gates.named_parameters()}
                self.update(found)
                self.update(gate, "gate")
                log["outer"] = outer
                del clone
        total: Any = sum(log.values())
        return log | {"loss": total}

    def _terms(self, batch: Batch, params: Params | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses on a batch, for which the teacher runs each time."""
        return self.losses(batch, self.model.zero_shot_image(batch.images), params)

    def _modulated(
        self, ce: Tensor, text: Tensor, image: Tensor, params: Params, create_graph: bool
    ) -> Params:
        """Return ``g_hat`` from a gradient for each regularizer."""
        g, r_text, r_image = (
            self.gradients(each, params, create_graph) for each in (ce, text, image)
        )
        r = {name: r_text[name] + r_image[name] for name in g}
        gates = {name: self.gates[name.replace(".", "/")](g[name], r[name]) for name in g}
        return {name: g[name] + gates[name] * r[name] for name in g}

    def _outer_loss(self, batch: Batch, labels: Tensor) -> Tensor:
        """Return the loss on one label's images after a step on the others, partners from these."""
        held_out = labels[torch.randperm(len(labels))][0]
        query, support = batch.labels == held_out, batch.labels != held_out
        images, others = batch.images[query], batch.images[support]
        weight = self.mixup.sample((len(images),)).to(images.device)  # (query,)
        partner = torch.randint(len(others), (len(images),))

        params = self.model.params()
        ce, text, image = self._terms(Batch(others, batch.labels[support]), params)
        g_hat = self._modulated(ce, text, image, params, not self.fast_adaptation)
        adapted = {name: value - self.adapt_lr * g_hat[name] for name, value in params.items()}

        self.model.zero_shot_image(images)
        image, text = self.model.encode(torch.cat([images, others]), adapted)
        own, other = image[: len(images)], image[len(images) :][partner]
        mixed = weight[:, None] * own + (1 - weight)[:, None] * other
        text = text[: len(own)] if text.dim() == 3 else text
        logits = self.model.compare(mixed, text).logits
        here = F.cross_entropy(logits, batch.labels[query], reduction="none")
        there = F.cross_entropy(logits, batch.labels[support][partner], reduction="none")
        return (weight * here + (1 - weight) * there).mean()
