"""Everything a plugin imports: the registries, the base classes and the values they exchange."""

from importlib import import_module
from typing import TYPE_CHECKING

if __name__ != "softprompt.core":
    raise ImportError(f"import this package as softprompt.core, not as {__name__}")

if TYPE_CHECKING:  # what editors and type checkers read; a test holds it against MODULES
    from softprompt.core.base.errors import UserError
    from softprompt.core.base.ranges import Range
    from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
    from softprompt.core.clip.frozen import FrozenCLIP
    from softprompt.core.clip.gradients import twice_differentiable
    from softprompt.core.clip.prompted import Features, PromptedCLIP
    from softprompt.core.data.batch import Batch
    from softprompt.core.data.dataset import Dataset, Item
    from softprompt.core.engine.optim import Optim
    from softprompt.core.engine.trainer import Trainer
    from softprompt.core.prompts.base import PromptLearner, Prompts, context, random_vectors
    from softprompt.core.prompts.templates import imagenet_templates, templates_of

# The module that defines each name. It is imported on first use: a report or a download needs no
# torch, which takes seconds to import.
MODULES = {
    "base.errors": ("UserError",),
    "base.ranges": ("Range",),
    "base.registry": ("DATASETS", "PROMPT_LEARNERS", "TRAINERS"),
    "clip.frozen": ("FrozenCLIP",),
    "clip.gradients": ("twice_differentiable",),
    "clip.prompted": ("Features", "PromptedCLIP"),
    "data.batch": ("Batch",),
    "data.dataset": ("Dataset", "Item"),
    "engine.optim": ("Optim",),
    "engine.trainer": ("Trainer",),
    "prompts.base": ("PromptLearner", "Prompts", "context", "random_vectors"),
    "prompts.templates": ("imagenet_templates", "templates_of"),
}

__all__ = [
    "DATASETS",
    "PROMPT_LEARNERS",
    "TRAINERS",
    "Batch",
    "Dataset",
    "Features",
    "FrozenCLIP",
    "Item",
    "Optim",
    "PromptLearner",
    "PromptedCLIP",
    "Prompts",
    "Range",
    "Trainer",
    "UserError",
    "context",
    "imagenet_templates",
    "random_vectors",
    "templates_of",
    "twice_differentiable",
]


def __getattr__(name: str):
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(f"softprompt.core.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
