"""GRAM: prompts with a meta-learned start, trained along regulated gradients."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core import TRAINERS, Batch, Features, PromptedCLIP, Trainer
from softprompt.core.clip.prompted import prompts_images
from softprompt.core.meta.learned import MetaLearned, load
from softprompt.core.meta.regulator import Regulator

MEMORY = 0.9  # of the running task condition, used for batches of a single image


@TRAINERS.register("gram")
class GRAM(Trainer):
    """Gradient-Regulated Meta-prompt learning: https://arxiv.org/abs/2303.06571.

    The prompts of any learner start from the result of ``tools/meta_train.py``, and every gradient
    g of token rows becomes ``psi(g; h)``, with a frozen function psi from the same file and the
    batch's mean image feature h, before clipping, momentum and weight decay. Inference does not
    change. No code of the paper is public, and only its abstract was available: the function has
    the form of its sister method SUPMER, https://arxiv.org/abs/2303.12314, changed to be the
    identity at its start, independent of the gradient's scale and unable to lengthen it.

    The loss is cross-entropy. For other terms, override ``terms`` in a subclass.
    """

    condition: Tensor  # (dim,), running mean of single images' features, not yet bias-corrected
    seen: Tensor  # number of single images so far

    def __init__(
        self,
        model: PromptedCLIP,
        *,
        file: str = "",
        initialize: bool = True,
        regulate: bool = True,
    ):
        """Load the file and start the learner from it.

        Args:
            file: gram.safetensors of a meta-training, or the name of one in the package;
                "": the learner's own start, and no regulation.
            initialize: start from the file's prompts; False: from the learner's own.
            regulate: use the file's regulator.
        """
        super().__init__(model)
        self.regulator: Regulator | None = None
        self.note = "the learner's own start, no regulation (TRAINER.GRAM.FILE is not set)"
        if file:
            self._use(load(file), initialize, regulate)
        self.prompts_images = prompts_images(model.learner, model.clip)
        self.register_buffer("condition", torch.zeros(model.clip.dim))
        self.register_buffer("seen", torch.zeros(()))
        self.to(model.clip.device)

    def _use(self, learned: MetaLearned, initialize: bool, regulate: bool) -> None:
        learner, clip = self.model.learner, self.model.clip
        regulator = learned.build_regulator(learner, clip)
        form = learned.header["regulator"]["form"]
        if regulate and regulator.functions:
            self.regulator = regulator
        if initialize:
            learned.start(learner, clip)
        start = "prompts start" if initialize else "prompts do not start"
        done = "regulated" if self.regulator is not None else "not regulated"
        self.note = (
            f"{start} from {learned.file.name} (meta-training step {learned.header['step']}), "
            f"gradients are {done} (form {form})"
        )

    def terms(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Return the named terms of the loss whose gradient is regulated."""
        return {"ce": F.cross_entropy(features.logits, batch.labels)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch along the regulated gradient; return the terms, loss and gate."""
        features = self.model(batch)
        terms = self.terms(features, batch)
        loss = cast(Tensor, sum(terms.values()))
        found = self.gradients(loss, retain_graph=False)
        if self.regulator is None:
            self.update(found)
            return terms
        with torch.no_grad():
            h = self._condition(features, batch)
            self.update(self.regulator(found, h))
            gate = self.regulator.openness(h)
        return terms | {"loss": loss} | ({} if gate is None else {"gate": gate})

    def _condition(self, features: Features, batch: Batch) -> Tensor:
        """Return the batch's mean image feature without prompts; single images: a running mean."""
        image = self.model.zero_shot_image(batch) if self.prompts_images else features.image
        mean = image.float().mean(0)
        if len(batch.images) > 1:
            return mean
        self.seen += 1
        self.condition.lerp_(mean, 1 - MEMORY)
        return self.condition / (1 - MEMORY**self.seen)
