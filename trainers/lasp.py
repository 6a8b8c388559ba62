"""LASP: learned class features that hand-written sentences recognize."""

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core import TRAINERS, Batch, Trainer, templates_of
from softprompt.core.base.ranges import NotNegative


@TRAINERS.register("lasp")
class LASP(Trainer):
    """Language-Aware Soft Prompting: https://arxiv.org/abs/2210.01115.

    ``L = CE + weight mean_{l, c} -log softmax_k(scale t_c . h_{l, k})[c]``: under each hand-written
    template l, the learned text feature ``t_c`` of a class is to be recognized among the frozen
    features ``h_{l, k}`` of all classes k. This is the text-to-text loss as the abstract describes
    it; the paper's body was not available and no official run is recorded, so weight and templates
    are ours. Its groups of prompts, re-calibration of the towers and virtual classes are not here.
    """

    def __init__(self, model, *, weight: NotNegative = 1.0, templates: str = "select"):
        """Encode the hand-written sentences.

        Args:
            weight: of the text-to-text loss.
            templates: the preset that names them.
        """
        super().__init__(model)
        self.weight = weight
        sentences = templates_of(model, templates)
        self.by_hand = torch.stack([model.zero_shot_text(one) for one in sentences])  # (l, k, dim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features = self.model(batch)
        terms = {"ce": F.cross_entropy(features.logits, batch.labels)}
        if self.weight:
            terms["text"] = self.weight * self.text_to_text(features.text)
        return terms

    def text_to_text(self, text: Tensor) -> Tensor:
        """Return the loss of unit features ``(classes, dim)`` or ``(batch, classes, dim)``."""
        cosines = torch.einsum("...cd,lkd->...lck", text, self.by_hand)
        chances = F.log_softmax(self.model.clip.logit_scale * cosines, dim=-1)
        return -chances.diagonal(dim1=-2, dim2=-1).mean()
