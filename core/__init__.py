"""Everything a plugin imports: the registries, the base classes and the values they exchange."""

if __name__ != "softprompt.core":
    raise ImportError(f"import this package as softprompt.core, not as {__name__}")

from softprompt.core.clip import FrozenCLIP
from softprompt.core.dataset import Dataset, Item
from softprompt.core.errors import UserError
from softprompt.core.gradients import twice_differentiable
from softprompt.core.model import Features, PromptedCLIP
from softprompt.core.prompts.base import PromptLearner, Prompts, context, random_vectors
from softprompt.core.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
from softprompt.core.trainer import Batch, Trainer

__all__ = [
    "DATASETS",
    "PROMPT_LEARNERS",
    "TRAINERS",
    "Batch",
    "Dataset",
    "Features",
    "FrozenCLIP",
    "Item",
    "PromptLearner",
    "PromptedCLIP",
    "Prompts",
    "Trainer",
    "UserError",
    "context",
    "random_vectors",
    "twice_differentiable",
]
