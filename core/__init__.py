"""Everything a plugin imports: the registries, the base classes and the values they exchange."""

from importlib import import_module

if __name__ != "softprompt.core":
    raise ImportError(f"import this package as softprompt.core, not as {__name__}")

# Where each name stands. It is imported when it is asked for: a report or a download needs no
# torch, which takes seconds.
PLACES = {
    "clip": ("FrozenCLIP",),
    "dataset": ("Dataset", "Item"),
    "errors": ("UserError",),
    "gradients": ("twice_differentiable",),
    "model": ("Features", "PromptedCLIP"),
    "prompts.base": ("PromptLearner", "Prompts", "context", "random_vectors"),
    "registry": ("DATASETS", "PROMPT_LEARNERS", "TRAINERS"),
    "trainer": ("Batch", "Trainer"),
}

__all__ = sorted(name for names in PLACES.values() for name in names)


def __getattr__(name: str):
    for module, names in PLACES.items():
        if name in names:
            return getattr(import_module(f"softprompt.core.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
