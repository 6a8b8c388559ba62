"""GRAM: prompts that start where meta-learning has put them, along regulated gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core import TRAINERS, Batch, Features, Trainer
from softprompt.core.clip.prompted import prompts_images
from softprompt.core.meta import meta_file

MEMORY = 0.9  # of the task condition, where a batch is a single image


@TRAINERS.register("gram")
class GRAM(Trainer):
    """Gradient-Regulated Meta-prompt learning: https://arxiv.org/abs/2303.06571.

    The prompts of any learner start at those that ``tools/meta_train.py`` has found, and every
    gradient g of token rows becomes ``psi(g; h)``, with a frozen function psi from the same file
    and the batch's mean image feature h, before clipping, momentum and weight decay. Nothing
    changes at inference. No code of the paper is public, and only its abstract was at hand: the
    function has the form of its sister method SUPMER, https://arxiv.org/abs/2303.12314, made the
    identity at its start, independent of the gradient's scale and unable to lengthen it.

    The loss is cross-entropy. For other terms, override ``terms`` in a subclass.
    """

    def __init__(self, model, *, file: str = "", initialize: bool = True, regulate: bool = True):
        """Read the file and start the learner from it.

        Args:
            file: gram.safetensors of a meta-training, or the name of one in the package;
                "": the learner's own start, and no regulation.
            initialize: start from the file's prompts; False: from the learner's own.
            regulate: use the file's regulator.
        """
        super().__init__(model)
        self.regulator = None
        self.note = "the learner's own start, no regulation (TRAINER.GRAM.FILE is not set)"
        if file:
            self._use(meta_file.load(file), initialize, regulate)
        self.prompts_images = prompts_images(model.learner, model.clip)
        self.register_buffer("condition", torch.zeros(model.clip.dim))
        self.register_buffer("seen", torch.zeros(()))
        self.to(model.clip.device)

    def _use(self, learned: meta_file.MetaLearned, initialize: bool, regulate: bool) -> None:
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
        features = self.model(batch.images)
        terms = self.terms(features, batch)
        found = self.gradients(sum(terms.values()), retain_graph=False)
        if self.regulator is None:
            self.update(found)
            return terms
        with torch.no_grad():
            h = self._condition(features, batch)
            self.update(self.regulator(found, h))
            gate = self.regulator.openness(h)
        return terms | {"loss": sum(terms.values())} | ({} if gate is None else {"gate": gate})

    def _condition(self, features: Features, batch: Batch) -> Tensor:
        """The batch's mean image feature without prompts, a running mean for single images."""
        image = self.model.zero_shot_image(batch.images) if self.prompts_images else features.image
        mean = image.float().mean(0)
        if len(batch.images) > 1:
            return mean
        self.seen += 1
        self.condition.lerp_(mean, 1 - MEMORY)
        return self.condition / (1 - MEMORY**self.seen)
