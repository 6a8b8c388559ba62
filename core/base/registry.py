"""The three tables that map names in a configuration to classes."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from softprompt.core.base.errors import UserError, closest, shown

Class = TypeVar("Class", bound=type)


def normalized(name: str) -> str:
    """Return a name as it is compared: in lower case, hyphens as underscores."""
    return name.strip().lower().replace("-", "_")


class Registry:
    """A table of classes by name, each constructed as ``cls(*arguments, **options)``."""

    def __init__(self, kind: str, arguments: tuple[str, ...], base: str = ""):
        """Start an empty table.

        Args:
            kind: what messages call such a class.
            arguments: names of the positional arguments, which all of its classes take.
            base: module and name of the class that they derive from; "": any.
        """
        self.kind = kind
        self.arguments = arguments
        self.base = base
        self._classes: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Class], Class]:
        """Return the class decorator that enters a class under ``name``.

        Raises:
            UserError: the name is empty or taken, or what is registered is no class, cannot be
                constructed as its kind is, or does not derive from the table's base class.
        """
        if not isinstance(name, str):
            raise TypeError(f"write @register('name') for a {self.kind}, not @register alone")
        key = normalized(name)

        def enter(cls: Class) -> Class:
            if not key:
                raise UserError(
                    f"a {self.kind} is registered under the empty name {name!r}: {place(cls)}"
                )
            if not isinstance(cls, type):
                raise UserError(
                    f"what is registered as the {self.kind} {key!r} is no class, but {cls!r}; put "
                    f"@register({name!r}) above a class"
                )
            there = self._classes.get(key)
            if there is not None:
                raise UserError(
                    f"{self.kind} {key!r} is registered twice: "
                    f"by {place(there)} and by {place(cls)}"
                )
            self._check_signature(cls, key)
            self._check_base(cls, key)
            self._classes[key] = cls
            return cls

        return enter

    def __getitem__(self, name: str) -> Any:
        """Return the class of a name; ``UserError`` with the known names if there is none."""
        key = normalized(name)
        if key not in self._classes:
            raise UserError(
                f"no {self.kind} named {shown(name)}{closest(key, self._classes) or '.'} "
                f"Registered: {', '.join(self.names())}. "
                "A class from your own file is found once PLUGINS lists that file."
            )
        return self._classes[key]

    def __contains__(self, name: str) -> bool:
        return normalized(name) in self._classes

    def names(self) -> list[str]:
        """Return the registered names in alphabetical order."""
        return sorted(self._classes)

    def _check_signature(self, cls: type, key: str) -> None:
        """Raise ``UserError`` unless the class can be called with this table's arguments."""
        try:
            signature = inspect.signature(cls)
        except (TypeError, ValueError):  # written in C, so unknown before it is called
            return
        parameters = signature.parameters.values()
        options = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
        try:
            signature.bind(*self.arguments, **options)
        except TypeError as error:
            call = ", ".join(self.arguments)
            raise UserError(
                f"the {self.kind} {key!r}, {place(cls)}, is constructed as {cls.__name__}({call}): "
                f"{error}; define __init__(self, {call}, *, my_option=1), where what "
                "follows the * are its options with their defaults"
            ) from None

    def _check_base(self, cls: type, key: str) -> None:
        """Raise ``UserError`` unless the class derives from the table's base class."""
        if self.base and not any(f"{c.__module__}.{c.__name__}" == self.base for c in cls.__mro__):
            name = self.base.rpartition(".")[2]
            raise UserError(
                f"the {self.kind} {key!r}, {place(cls)}, does not derive from {name}; write "
                f"class {cls.__name__}({name}), with from softprompt.core import {name}"
            )


def place(cls: Callable) -> str:
    """Return where a class or function is defined: module, name and file."""
    try:
        file = inspect.getsourcefile(cls)
    except (TypeError, OSError):
        file = None
    return f"{cls.__module__}.{cls.__qualname__}" + (f" ({file})" if file else "")


def is_built_in(cls: type) -> bool:
    """Return whether a class comes with this package."""
    return cls.__module__.partition(".")[0] == "softprompt"


# Dataset; root: the folder that holds all datasets
DATASETS = Registry("dataset", ("root",), "softprompt.core.data.dataset.Dataset")
PROMPT_LEARNERS = Registry(
    "prompt learner", ("clip", "classnames"), "softprompt.core.prompts.base.PromptLearner"
)
# Trainer; model: a PromptedCLIP
TRAINERS = Registry("trainer", ("model",), "softprompt.core.engine.trainer.Trainer")
