"""The three tables that map names in a config to classes."""

import inspect
from collections.abc import Callable

from softprompt.core.base.errors import UserError, closest


def normalized(name: str) -> str:
    """Names match without regard to case, and a hyphen equals an underscore."""
    return name.strip().lower().replace("-", "_")


class Registry:
    """A table of classes by name; ``contract`` states how they are called."""

    def __init__(self, kind: str, contract: str):
        self.kind = kind
        self.contract = contract
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Return the class decorator that enters a class under ``name``."""
        if not isinstance(name, str):
            raise TypeError(f"write @register('name') for a {self.kind}, not @register alone")
        key = normalized(name)

        def enter(cls: type) -> type:
            there = self._classes.get(key)
            if there is not None:
                raise UserError(
                    f"{self.kind} {key!r} is registered twice: "
                    f"by {place(there)} and by {place(cls)}"
                )
            self._classes[key] = cls
            return cls

        return enter

    def __getitem__(self, name: str) -> type:
        key = normalized(name)
        if key not in self._classes:
            raise UserError(
                f"no {self.kind} named {name!r}{closest(key, self._classes) or '.'} "
                f"Registered: {', '.join(self.names())}. "
                "A class from your own file is found once PLUGINS lists that file."
            )
        return self._classes[key]

    def __contains__(self, name: str) -> bool:
        return normalized(name) in self._classes

    def names(self) -> list[str]:
        return sorted(self._classes)


def place(cls: type) -> str:
    """Where a class stands: module, name and file."""
    try:
        file = inspect.getsourcefile(cls)
    except TypeError:
        file = None
    return f"{cls.__module__}.{cls.__qualname__}" + (f" ({file})" if file else "")


DATASETS = Registry(
    "dataset",
    "cls(root, *, options): a softprompt.core.Dataset; root is the folder that holds all datasets",
)
PROMPT_LEARNERS = Registry(
    "prompt learner",
    "cls(clip, classnames, *, options): a softprompt.core.PromptLearner",
)
TRAINERS = Registry(
    "trainer",
    "cls(model, *, options): a softprompt.core.Trainer; model is a PromptedCLIP",
)
