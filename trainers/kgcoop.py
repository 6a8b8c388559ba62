"""KgCoOp: text features held close to those of hand-written sentences."""

import torch.nn.functional as F
from torch import Tensor

from softprompt.core import TRAINERS, Batch, Trainer
from softprompt.core.base.ranges import NotNegative

EPS = 1e-7  # of the cosine, as in the official code


@TRAINERS.register("kgcoop")
class KgCoOp(Trainer):
    """Knowledge-guided Context Optimization: https://arxiv.org/abs/2303.13283.

    ``L = CE + weight (1 - mean_c cos(w_c, w_c^clip))``, where ``w_c^clip`` is the frozen text
    feature of the dataset's hand-written sentence.
    """

    def __init__(self, model, *, weight: NotNegative = 8.0, templates: str = "kgcoop"):
        """Encode the hand-written sentences.

        Args:
            weight: of the distance, lambda in the paper.
            templates: the preset that names them.
        """
        super().__init__(model)
        self.weight = weight
        self.teacher = model.zero_shot_text(templates)  # (classes, dim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features = self.model(batch)
        terms = {"ce": F.cross_entropy(features.logits, batch.labels)}
        if self.weight:
            likeness = F.cosine_similarity(features.text, self.teacher, dim=-1, eps=EPS).mean()
            terms["distance"] = self.weight * (1 - likeness)
        return terms
