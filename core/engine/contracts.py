"""Check that a class of a plugin keeps the contract of its base class, before it is used."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import place
from softprompt.core.data.dataset import Dataset
from softprompt.core.engine.trainer import Trainer
from softprompt.core.prompts.base import PromptLearner

Made = TypeVar("Made")


class Contract(NamedTuple):
    """What is asked of the subclasses of a base class."""

    construct: str  # the call of its constructor
    sets: tuple[str, ...]  # attributes that this sets
    calls: tuple[str, ...]  # methods, each called with the positional arguments of the base class's


CONTRACTS = {
    Dataset: Contract("super().__init__(root)", ("root",), ("splits", "listed", "reader")),
    PromptLearner: Contract(
        "super().__init__(template, n_context)", ("template",), ("forward", "for_classes")
    ),
    Trainer: Contract(
        "super().__init__(model)",
        ("model", "optimizers"),
        ("loss", "step", "prepare", "learning_rates", "start_epoch", "after_epoch"),
    ),
}


def construct(base: type[Made], cls: Any, *arguments: Any, **options: Any) -> Made:
    """Return ``cls(*arguments, **options)`` if it can be used as its base class.

    Raises:
        UserError: it does not keep the contract; the message says what is expected.
    """
    contract = CONTRACTS[base]
    for name in contract.calls:
        _check_call(cls, base, name)
    first = f"{place(cls)}: its constructor must call {contract.construct} first"
    try:
        made = cls(*arguments, **options)
    except AttributeError as error:
        early = any(f"has no attribute {name!r}" in str(error) for name in contract.sets)
        if early or "before Module.__init__() call" in str(error):
            raise UserError(f"{first} ({error})") from error
        raise
    for name in contract.sets:
        if not hasattr(made, name):
            raise UserError(f"{first} (it has no attribute {name!r})")
    if base is Dataset:
        _check_dataset(made)
    if base is PromptLearner:
        _check_template(made)
    if base is Trainer and made.model is not arguments[0]:
        raise UserError(f"{place(cls)}: model must stay what the constructor was given")
    return made


def check_prepared(trainer: Trainer) -> None:
    """Raise ``UserError`` unless the loop can set the learning rates of a prepared trainer."""
    where = place(type(trainer))
    if not isinstance(trainer.optimizers, dict):
        raise UserError(f"{where}: optimizers must stay a dict of optimizers by name")
    if not hasattr(trainer, "optim") or "prompts" not in trainer.optimizers:
        raise UserError(f"{where}: prepare() must call super().prepare(optim) first")
    rates = trainer.learning_rates(0)
    known = ", ".join(map(repr, trainer.optimizers))
    example = 'return {**super().learning_rates(epoch), "mine": 0.1}'
    if (
        not isinstance(rates, dict)
        or "prompts" not in rates
        or set(rates) - set(trainer.optimizers)
    ):
        raise UserError(
            f"{where}: learning_rates() returned {rates!r}; it must return the rate of 'prompts', "
            f"and of other optimizers that prepare() made ({known}), such as {example}"
        )


class CheckedReader:
    """A dataset's reader, whose pictures are checked; it survives pickling if the reader does."""

    def __init__(self, read: Callable[[str], Any], dataset: Dataset):
        """Wrap it.

        Raises:
            UserError: it cannot be called.
        """
        self.read = read
        self.source = f"{place(type(dataset))}: reader()"
        if not callable(read):
            raise UserError(
                f"{self.source} returned {type(read).__name__}; it must return a function from "
                "Item.path to the picture"
            )

    def __call__(self, path: str) -> Image.Image:
        picture = self.read(path)
        if not isinstance(picture, Image.Image) or picture.mode != "RGB":
            found = getattr(picture, "mode", type(picture).__name__)
            raise UserError(
                f"{self.source} reads {path!r} as {found}; it must return a PIL image in RGB, such "
                'as Image.open(file).convert("RGB")'
            )
        return picture


def _check_call(cls: type, base: type, name: str) -> None:
    """Raise ``UserError`` unless a method takes the positional arguments of the base class's."""
    method = getattr(cls, name)
    arguments = list(inspect.signature(getattr(base, name)).parameters)
    try:
        inspect.signature(method).bind(*arguments)
    except (TypeError, ValueError) as error:
        called = ", ".join(arguments[1:])
        raise UserError(
            f"{place(cls)}: {name}() is called as {name}({called}): {error}; define "
            f"def {name}({', '.join(arguments)})"
        ) from None


def _check_dataset(dataset: Dataset) -> None:
    """Raise ``UserError`` unless the constructor has set what the base class asks for."""
    where, names = place(type(dataset)), getattr(dataset, "classnames", None)
    right = isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names)
    if not right:
        raise UserError(
            f"{where}: its constructor must set classnames to the name of each class, such as "
            f'self.classnames = ("ant", "bee"), not to {names!r}'
        )
    if type(dataset).reader is Dataset.reader and not hasattr(dataset, "image_dir"):
        raise UserError(
            f"{where}: its constructor must set image_dir to the folder of its pictures, such as "
            'self.image_dir = self.folder_of("insects", "images"), or it must define reader()'
        )


def _check_template(learner: PromptLearner) -> None:
    """Raise ``UserError`` unless the learner's sentence has a place for the class name."""
    if not isinstance(learner.template, str) or "{}" not in learner.template:
        raise UserError(
            f"{place(type(learner))}: its template is {learner.template!r}, which has no {{}} for "
            'the class name, as in super().__init__("a photo of a {}.", n_context)'
        )
