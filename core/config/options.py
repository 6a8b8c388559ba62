"""The options of registered classes: their keyword-only arguments, under a node of their own.

``TRAINER.PROMETAR.ADAPT_LR`` is ``ProMetaR(adapt_lr=...)``. Default and meaning are written there
and nowhere else: the signature and the ``Args:`` of the constructor's docstring.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.base.ranges import Range
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS, Registry, place
from softprompt.core.config.schema import Key

COMPONENTS: dict[str, Registry] = {
    "DATASET": DATASETS,
    "PROMPT": PROMPT_LEARNERS,
    "TRAINER": TRAINERS,
}
VALUES = (bool, int, float, str, tuple, list, dict, type(None))  # what yacs takes
LINK = re.compile(r"[,:]?\s*(https?://[^\s,;)]*[^\s,;:).])")


def node_name(name: str) -> str:
    """Return the configuration node of a registered name: ``MY_TRAINER`` for "my-trainer"."""
    return name.strip().upper().replace("-", "_")


def options_of(owner: Callable) -> dict[str, Any]:
    """Return the options of a class or function, as arguments with their defaults.

    Raises:
        UserError: one of them has no default.
    """
    options = {}
    for parameter in inspect.signature(owner).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if parameter.default is inspect.Parameter.empty:
            raise UserError(
                f"{place(owner)}: the option {parameter.name!r} needs a "
                "default, because every option of a registered class can be left out"
            )
        if not isinstance(parameter.default, VALUES):
            raise UserError(
                f"{place(owner)}: the option {parameter.name!r} has the "
                f"default {parameter.default!r}, which no configuration can hold; it must be a "
                "number, text, True or False, or a tuple of such"
            )
        options[parameter.name] = parameter.default
    return options


def options_from(cfg: CfgNode, component: str) -> dict[str, Any]:
    """Return what ``cfg`` sets for its chosen "DATASET", "PROMPT" or "TRAINER", as arguments."""
    node = cfg[component]
    return {key.lower(): value for key, value in node[node_name(node.NAME)].items()}


def option_node(owner: Callable) -> CfgNode:
    """Return the configuration node of a class or function: its options in upper case."""
    return CfgNode({option.upper(): default for option, default in options_of(owner).items()})


def option_keys(node: str, owner: Callable) -> list[Key]:
    """Return the options of a class or function as configuration keys below ``node``.

    What they take is in their annotations: ``Literal["a", "b"]`` or ``Annotated[str, CHOICES]``,
    and ``Annotated[float, Range(0, 1)]``.
    """
    meanings = option_meanings(owner)
    annotations = _annotations(owner)
    return [
        Key(
            f"{node}.{option.upper()}",
            default,
            meanings.get(option, ""),
            choices=_choices(annotations[option]),
            numbers=_numbers(annotations[option]),
        )
        for option, default in options_of(owner).items()
    ]


def _annotations(owner: Callable) -> dict[str, Any]:
    """Return the annotation of each argument, as text where it names what cannot be imported."""
    try:
        signature = inspect.signature(owner, eval_str=True)
    except Exception:  # whatever the text of a plugin's annotation raises
        signature = inspect.signature(owner)
    return {parameter.name: parameter.annotation for parameter in signature.parameters.values()}


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(one for one in get_args(annotation) if isinstance(one, str))
    metadata = getattr(annotation, "__metadata__", ())
    return next((one for one in metadata if isinstance(one, tuple)), ())


def _numbers(annotation: Any) -> Range | None:
    metadata = getattr(annotation, "__metadata__", ())
    return next((one for one in metadata if isinstance(one, Range)), None)


def option_meanings(owner: Callable) -> dict[str, str]:
    """Return the ``Args:`` of a constructor's or function's docstring by argument.

    ``a, b: text`` describes both. A dataclass, whose constructor nobody wrote, has them itself.
    """
    documented = owner if is_dataclass(owner) or not isinstance(owner, type) else owner.__init__
    doc = inspect.cleandoc(documented.__doc__ or "").partition("Args:\n")[2]
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in doc.splitlines():
        start = re.match(r" {4}(\w+(?:, \w+)*): +(.*)", line)
        if start:
            names = start[1].split(", ")
            meanings |= dict.fromkeys(names, start[2])
        elif line.startswith(" " * 8):
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
        else:
            names = []
    return {name: text.replace("``", "`").rstrip(".") for name, text in meanings.items()}


class Entry(NamedTuple):
    """What a catalogue shows of a registered class."""

    name: str
    about: str  # the first line of the class's docstring, without its link
    paper: str  # the link in the docstring's first paragraph
    options: list[Key]
    place: str


def entry_of(component: str, name: str, cls: type) -> Entry:
    """Return the entry of a class; ``component`` is its configuration node, such as TRAINER."""
    text = inspect.cleandoc(cls.__doc__ or "")
    link = LINK.search(text.partition("\n\n")[0])
    about = LINK.sub("", text.partition("\n")[0]).replace("``", "`").rstrip(".")
    options = option_keys(f"{component}.{node_name(name)}", cls)
    return Entry(name, about or "(no docstring)", link[1] if link else "", options, place(cls))
