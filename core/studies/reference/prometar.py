"""ProMetaR's step with every pass that the official code makes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core.clip.gradients import twice_differentiable
from softprompt.core.data.batch import Batch
from softprompt.trainers.prometar import ProMetaR


class ReferenceProMetaR(ProMetaR):
    """The official ``forward_backward`` with learn2learn's clones: equal numbers, at their cost.

    The teacher runs on batch, support and query; the text and the image regularizer have separate
    gradients, each with a graph; the query pass encodes the whole support and picks its partners.
    """

    def step(self, batch: Batch) -> dict[str, Tensor]:
        with twice_differentiable():  # as in torch 1.9, which had no other attention
            terms = self.losses(batch, None)
            self.update(self.modulated(terms[0], terms[1:], self.model.params(), True))
            log: dict[str, Tensor] = dict(zip(("ce", "text", "image"), terms, strict=True))
            labels = torch.unique(batch.labels)
            if len(labels) > 1:
                clone = [value.clone() for value in self.model.clip.model.parameters()]
                outer = self.outer_loss(batch, None, labels)
                trained = {**self.model.params(), **dict(self.gates.named_parameters())}
                found = self.gradients(self.lr_ratio * outer, trained)
                gate = {name: found.pop(name) for name, _ in self.gates.named_parameters()}
                self.update(found)
                self.update(gate, "gate")
                log["outer"] = outer
                del clone
        total: Any = sum(log.values())
        return log | {"loss": total}

    def losses(self, batch, teacher_image, params=None):
        return super().losses(batch, self.model.zero_shot_image(batch.images), params)

    def modulated(self, ce, regularizers, params, create_graph=False):
        g = self.gradients(ce, params, create_graph)
        r = [self.gradients(each, params, create_graph) for each in regularizers]
        r = {name: sum(each[name] for each in r) for name in g}
        gates = {name: self.gates[name.replace(".", "/")](g[name], r[name]) for name in g}
        return {name: g[name] + gates[name] * r[name] for name in g}

    def outer_loss(self, batch: Batch, teacher_image, labels: Tensor) -> Tensor:
        held_out = labels[torch.randperm(len(labels))][0]
        query, support = batch.labels == held_out, batch.labels != held_out
        images, others = batch.images[query], batch.images[support]
        weight = self.mixup.sample((len(images),)).to(images.device)  # (query,)
        partner = torch.randint(len(others), (len(images),))

        params = self.model.params()
        ce, *regularizers = self.losses(Batch(others, batch.labels[support]), None, params)
        g_hat = self.modulated(ce, regularizers, params, create_graph=not self.fast_adaptation)
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
