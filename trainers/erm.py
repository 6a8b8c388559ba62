"""Plain cross-entropy."""

import torch.nn.functional as F
from torch import Tensor

from softprompt.core import TRAINERS, Batch, Trainer


@TRAINERS.register("erm")
class ERM(Trainer):
    """Empirical risk minimization: cross-entropy and nothing else.

    With the prompt learner ``coop`` this is CoOp, https://arxiv.org/abs/2109.01134; with ``maple``
    it is MaPLe, and so on.
    """

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"ce": F.cross_entropy(self.model(batch).logits, batch.labels)}
