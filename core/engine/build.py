"""Construct the prompt learner and the trainer that a configuration names."""

from yacs.config import CfgNode

from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS
from softprompt.core.base.seeding import seed_of, seeded
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.config.options import options_from
from softprompt.core.engine.contracts import construct
from softprompt.core.engine.trainer import Trainer
from softprompt.core.prompts.base import PromptLearner


def build_learner(cfg: CfgNode, clip: FrozenCLIP, classnames: tuple[str, ...]) -> PromptLearner:
    """Return ``PROMPT.NAME`` with its options, on the CLIP's device.

    Its start is drawn from ``PROMPT.SEED``, whatever was drawn before.
    """
    with seeded(seed_of(cfg, "PROMPT"), "init"):
        cls, options = PROMPT_LEARNERS[cfg.PROMPT.NAME], options_from(cfg, "PROMPT")
        learner = construct(PromptLearner, cls, clip, classnames, **options)
    return learner.to(clip.device)


def build_trainer(cfg: CfgNode, model: PromptedCLIP) -> Trainer:
    """Return ``TRAINER.NAME`` with its options; its own networks start from ``TRAINER.SEED``."""
    with seeded(seed_of(cfg, "TRAINER"), "trainer"):
        cls, options = TRAINERS[cfg.TRAINER.NAME], options_from(cfg, "TRAINER")
        return construct(Trainer, cls, model, **options)
