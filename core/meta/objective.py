"""The meta-objective: the loss on a task's queries after regulated steps on its support."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.base.ranges import CountOrZero, NotNegative, Share
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.gradients import gradients, twice_differentiable
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.meta.episodes import Episode, Part
from softprompt.core.meta.regulator import Regulator
from softprompt.core.prompts.base import PromptLearner

RATES = (0.002, 0.01, 0.05, 0.1, 0.5)  # of the inner steps, that calibration tries
DROP = 0.1  # share of the support's cross-entropy that one raw step should remove


class Outcome(NamedTuple):
    """The measurements of one task, or their means over several."""

    loss: float  # the meta-objective
    accuracy_same: float  # percent, of the queries of the support's classes
    accuracy_other: float  # percent, of the queries of other classes
    gate: float  # share of the raw gradient that is kept


class Objective:
    """Loss on the queries at ``p_T``, where ``p_{j+1} = p_j - lr psi(dCE_support / dp_j; h)``.

    It is ``(1 - w) CE_same + w CE_other`` with the weight w of other classes than the support's.
    First order treats the raw inner gradients as constants: with one step that is exact for the
    regulator and omits the curvature for the prompts. Without any inner step the three parts of a
    task have equal weights, which is plain training on the same tasks.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        learner: PromptLearner,
        regulator: Regulator,
        *,
        lr: NotNegative = 0.0,
        steps: CountOrZero = 1,
        second_order: bool = False,
        other_weight: Share = 0.5,
        gate_weight: NotNegative = 0.0,
    ):
        """Combine prompts and regulator.

        Args:
            lr: rate of the inner steps; 0: calibrated on held-out tasks.
            steps: inner steps; 0: plain training on the same tasks, without meta-learning.
            second_order: differentiate through the inner gradients as well.
            other_weight: weight of the queries of other classes.
            gate_weight: weight of SUPMER's target for the gate; see ``gate_target``.

        Raises:
            UserError: one of them is out of range.
        """
        if lr < 0 or steps < 0:
            raise UserError(f"META.INNER: LR is {lr} and STEPS {steps}, but neither is negative")
        if not 0 <= other_weight <= 1:
            raise UserError(f"META.INNER.OTHER_WEIGHT is {other_weight}; it is a share of 1")
        self.clip = clip
        self.learner = learner
        self.regulator = regulator
        self.lr = lr
        self.steps = steps
        self.second_order = second_order
        self.gate_weight = gate_weight
        self.weights = (0.0, 1 - other_weight, other_weight) if steps else (1 / 3, 1 / 3, 1 / 3)

    def gradients(self, episode: Episode) -> tuple[Outcome, dict[str, Tensor], dict[str, Tensor]]:
        """Return the outcome of a task and the meta-gradients of prompts and regulator, by name."""
        params: dict[str, Tensor] = dict(self.learner.named_parameters())
        own = dict(self.regulator.named_parameters())
        adapted = self.adapt(episode, params, self.second_order)
        # One query set after the other, so that only one's graph is in memory at a time; the inner
        # steps are then traversed once, with the sum: d loss/d p = (d p_T/d p)^T d loss/d p_T.
        ends = {name: value.detach().requires_grad_() for name, value in adapted.items()}
        total = {name: torch.zeros_like(value) for name, value in ends.items()}
        outcomes = []
        for weight, part in zip(self.weights, episode, strict=True):
            if not weight:
                outcomes.append((0.0, 0.0))
                continue
            loss, accuracy = self.loss(part, ends)
            for name, gradient in gradients(weight * loss, ends, retain_graph=False).items():
                total[name] += gradient
            outcomes.append((weight * loss.item(), accuracy))
        gate = self.regulator.openness(episode.condition)
        outputs, weights = list(adapted.values()), list(total.values())
        if self.gate_weight and gate is not None:
            steps = {name: params[name] - adapted[name] for name in params}
            target = gate_target(episode, total, steps)
            outputs.append(self.gate_weight * (target - gate).pow(2))
            weights.append(torch.ones_like(gate))
        trained = [*params.values(), *own.values()]
        reached = torch.autograd.grad(outputs, trained, weights, allow_unused=True)
        found = [
            torch.zeros_like(value) if gradient is None else gradient
            for value, gradient in zip(trained, reached, strict=True)
        ]
        return (
            _outcome(outcomes, gate),
            dict(zip(params, found[: len(params)], strict=True)),
            dict(zip(own, found[len(params) :], strict=True)),
        )

    def evaluate(self, episode: Episode) -> Outcome:
        """Return the outcome of a task at the current prompts and regulator."""
        params: dict[str, Tensor] = dict(self.learner.named_parameters())
        adapted = self.adapt(episode, params, second_order=False)
        with torch.no_grad():
            found = [self.loss(part, adapted) for part in episode]
            gate = self.regulator.openness(episode.condition)
        pairs = zip(self.weights, found, strict=True)
        return _outcome([(w * loss.item(), accuracy) for w, (loss, accuracy) in pairs], gate)

    def adapt(
        self, episode: Episode, params: dict[str, Tensor], second_order: bool
    ) -> dict[str, Tensor]:
        """Return the prompts after the inner steps, as functions of prompts and regulator."""
        for _ in range(self.steps):
            raw = self.inner_gradients(episode.support, params, second_order)
            steps = self.regulator(raw, episode.condition)
            params = {name: value - self.lr * steps[name] for name, value in params.items()}
        return params

    def inner_gradients(
        self, support: Part, params: dict[str, Tensor], second_order: bool = False
    ) -> dict[str, Tensor]:
        """Return the raw gradients of the support's loss, with a graph if of second order."""
        # Only this pass is differentiated twice, so only it runs without fused attention.
        with torch.enable_grad(), twice_differentiable() if second_order else nullcontext():
            loss, _ = self.loss(support, params)
            found = gradients(loss, params, create_graph=second_order, retain_graph=False)
        return found if second_order else {name: g.detach() for name, g in found.items()}

    def loss(self, part: Part, params: dict[str, Tensor]) -> tuple[Tensor, float]:
        """Return cross-entropy and accuracy, in percent, on a part of a task."""
        model = PromptedCLIP(self.clip, self.learner, part.classnames)
        prompts = model.prompts(params, part.features if self.learner.conditional else None)
        if prompts.prompts_image:  # pictures are read for learners that prompt them
            image = self.clip.encode_image(cast(Tensor, part.images), prompts)
        else:
            image = part.features
        if prompts.prompts_text:
            text = self.clip.encode_text(model.sentences, prompts)
        else:
            text = self._fixed_text(part.classnames)
        logits = model.compare(image, text).logits
        accuracy = 100 * (logits.argmax(1) == part.labels).float().mean().item()
        return F.cross_entropy(logits, part.labels), accuracy

    def _fixed_text(self, classnames: tuple[str, ...]) -> Tensor:
        """Return the features of sentences without learned words; each name is encoded once."""
        templates = self.learner.templates
        return torch.cat([self.clip.class_features((n,), templates, unit=True) for n in classnames])


def _outcome(found: list[tuple[float, float]], gate: Tensor | None) -> Outcome:
    _, (_, same), (_, other) = found
    total = sum(loss for loss, _ in found)
    return Outcome(total, same, other, 1.0 if gate is None else gate.item())


@torch.no_grad()
def gate_target(episode: Episode, query: dict[str, Tensor], support: dict[str, Tensor]) -> Tensor:
    """Return SUPMER's target for the gate, ``(s_dom + s_grad) / 2``, each in [0, 1].

    They are the similarity of the pictures of support and other classes, and that of the queries'
    gradients and the support's steps, as mean cosines of token rows.
    """
    domain = F.cosine_similarity(
        episode.support.features.mean(0), episode.other.features.mean(0), dim=0
    )
    rows = [F.cosine_similarity(query[n], support[n], dim=-1).flatten() for n in query]
    return (2 + domain + torch.cat(rows).mean()) / 4


def calibrated_rate(objective: Objective, episodes: Iterable[Episode]) -> float:
    """Return the smallest of ``RATES`` at which one raw step lowers the support's loss by a tenth.

    If none does, return the one that lowers it most.
    """
    params: dict[str, Tensor] = dict(objective.learner.named_parameters())
    before, after = 0.0, dict.fromkeys(RATES, 0.0)
    for episode in episodes:
        raw = objective.inner_gradients(episode.support, params)
        with torch.no_grad():
            before += objective.loss(episode.support, params)[0].item()
            for rate in RATES:
                moved = {name: value - rate * raw[name] for name, value in params.items()}
                after[rate] += objective.loss(episode.support, moved)[0].item()
    left = {rate: loss / before for rate, loss in after.items()}
    enough = [rate for rate in RATES if left[rate] <= 1 - DROP]
    chosen = enough[0] if enough else min(RATES, key=lambda rate: left[rate])
    shares = ", ".join(f"{rate:g}: {share:.3f}" for rate, share in left.items())
    logger.info(
        f"inner rate {chosen:g}; share of the support's loss that a raw step leaves at {shares}"
    )
    return chosen
