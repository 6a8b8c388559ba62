"""PromptSRC: prompts that regulate themselves against the frozen CLIP and over time."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core import TRAINERS, Batch, Optim, Trainer, UserError, imagenet_templates
from softprompt.core.base.ranges import NotNegative, Positive

TEMPLATES = 60  # the official teacher uses the first 60 of CLIP's 80 ImageNet templates


@TRAINERS.register("promptsrc")
class PromptSRC(Trainer):
    """Self-regulating Prompts: https://arxiv.org/abs/2307.06948.

    ``L = CE + text_weight mean|t - t0| + image_weight mean|v - v0| + KL(q0, q) / (batch classes)``
    with features ``t0, v0`` and class probabilities ``q0`` of CLIP without prompts. The prompts of
    every epoch enter an average with Gaussian weights over epochs (GPA), which is what remains in
    the end. It averages the trained tensors; the official code averages the frozen CLIP too, in
    half precision, and so changes it.
    """

    def __init__(
        self,
        model,
        *,
        text_weight: NotNegative = 25.0,
        image_weight: NotNegative = 10.0,
        logit_weight: NotNegative = 1.0,
        gpa: bool = True,
        gpa_mean: float = 15.0,
        gpa_std: Positive = 1.0,
    ):
        """Encode the text teacher and start the average.

        Args:
            text_weight, image_weight, logit_weight: of the three distances to the frozen CLIP.
            gpa: end with the average over epochs.
            gpa_mean, gpa_std: epoch, counted from 1, at which its weight peaks, and its width.
        """
        super().__init__(model)
        self.text_weight = text_weight
        self.image_weight = image_weight
        self.logit_weight = logit_weight
        self.gpa = gpa
        self.gpa_mean = gpa_mean
        self.gpa_std = gpa_std
        self.teacher_text = model.zero_shot_text(imagenet_templates(TEMPLATES))  # (classes, dim)
        for name, value in model.params().items():
            self.register_buffer(_buffer(name), torch.zeros_like(value))

    def prepare(self, optim: Optim) -> None:
        super().prepare(optim)
        density = [
            math.exp(-(((epoch - self.gpa_mean) / self.gpa_std) ** 2) / 2)
            for epoch in range(1, optim.epochs + 1)
        ]
        total = sum(density)
        if self.gpa and total == 0:
            raise UserError(
                f"TRAINER.PROMPTSRC.GPA_MEAN is {self.gpa_mean}, so far from the {optim.epochs} "
                "epochs that none of them has a weight; set it to one of them"
            )
        self.epoch_weights = [value / total for value in density] if self.gpa else []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features = self.model(batch)
        teacher_image = self.model.zero_shot_image(batch)  # (batch, dim)
        terms = {"ce": F.cross_entropy(features.logits, batch.labels)}
        if self.text_weight:
            distance = F.l1_loss(features.text, self.teacher_text.expand_as(features.text))
            terms["text"] = self.text_weight * distance
        if self.image_weight:
            terms["image"] = self.image_weight * F.l1_loss(features.image, teacher_image)
        if self.logit_weight:
            divergence = F.kl_div(
                F.log_softmax(features.logits, dim=1),
                F.log_softmax(self.model.logits(teacher_image, self.teacher_text), dim=1),
                reduction="sum",
                log_target=True,
            )
            terms["kl"] = self.logit_weight * divergence / features.logits.numel()
        return terms

    @torch.no_grad()
    def after_epoch(self, epoch: int) -> None:
        if not self.gpa:
            return
        for name, value in self.model.params().items():
            average = self.get_buffer(_buffer(name))
            average += self.epoch_weights[epoch] * value
            if epoch + 1 == len(self.epoch_weights):
                value.copy_(average)


def _buffer(name: str) -> str:
    return "average/" + name.replace(".", "/")  # a buffer's name cannot hold a dot
