"""ProGrad: only the part of the gradient that does not contradict the zero-shot CLIP."""

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core import TRAINERS, Batch, Trainer
from softprompt.core.base.ranges import NotNegative, Positive

EPS = 1e-12  # keeps a zero gradient from becoming NaN, as it does in the official code


@TRAINERS.register("prograd")
class ProGrad(Trainer):
    """Prompt-aligned Gradient: https://arxiv.org/abs/2205.14865.

    With ``g_d = dCE/dp`` and ``g_g = dKL/dp``, where KL pulls the logits to those of CLIP with the
    dataset's hand-written sentence, each tensor p follows ``g_d``; if the two point apart
    (``g_d . g_g < 0``), the part of ``g_d`` along ``g_g`` is taken off, ``strength`` times. Every
    tensor of every learner is projected as a whole, as the official code does with the only one it
    has, class-specific contexts included.
    """

    def __init__(
        self,
        model,
        *,
        strength: NotNegative = 1.0,
        temperature: Positive = 1.0,
        templates: str = "prograd",
    ):
        """Encode the teacher's sentences.

        Args:
            strength: share of the contradicting part that is removed, lambda in the paper.
            temperature: of the KL term's softmax.
            templates: the preset that names the sentences.
        """
        super().__init__(model)
        self.strength = strength
        self.temperature = temperature
        self.teacher_text = model.zero_shot_text(templates)  # (classes, dim)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.model(batch).logits
        with torch.no_grad():
            teacher = self.model.logits(self.model.zero_shot_image(batch), self.teacher_text)
        ce = F.cross_entropy(logits, batch.labels)
        kl = self.distillation(logits, teacher)
        general = self.gradients(kl)
        specific = self.gradients(ce, retain_graph=False)
        self.update({name: self.aligned(specific[name], general[name]) for name in specific})
        return {"ce": ce, "kl": kl, "loss": ce}

    def distillation(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """``-T^2 mean_i sum_c p_ic log q_ic``: the KL divergence up to a constant."""
        t = self.temperature
        target = F.softmax(teacher / t, dim=1)
        return -(t**2) * (target * F.log_softmax(logits / t, dim=1)).sum(dim=1).mean()

    def aligned(self, specific: Tensor, general: Tensor) -> Tensor:
        """Return ``g_d - strength min(0, g_d . u) u`` with ``u = g_g / |g_g|``."""
        unit = general / (general.norm() + EPS)
        along = (specific * unit).sum()
        return specific - self.strength * along.clamp(max=0) * unit
