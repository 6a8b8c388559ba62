"""Options of a registered class as its code documents them, for people to read.

A docstring's first line describes the class, the link in its first paragraph is the paper, and the
constructor's ``Args:`` explain the options.
"""

import inspect
import re
from typing import NamedTuple

from softprompt.core.base.registry import place
from softprompt.core.config.load import node_name, options_of

LINK = re.compile(r"[,:]?\s*(https?://[^\s,;)]*[^\s,;:).])")


class Option(NamedTuple):
    """One configuration key of a registered class."""

    key: str  # such as TRAINER.PROMETAR.ADAPT_LR
    type: str
    default: object
    meaning: str


class Entry(NamedTuple):
    """A registered class: its name, description, paper, options and source file."""

    name: str
    about: str  # the first line of the class's docstring, without its link
    paper: str  # the link in the docstring's first paragraph
    options: list[Option]
    place: str


def entry_of(component: str, name: str, cls: type) -> Entry:
    """Return the entry of a registered class; ``component`` is its config node, such as TRAINER."""
    text = inspect.cleandoc(cls.__doc__ or "")
    link = LINK.search(text.partition("\n\n")[0])
    about = LINK.sub("", text.partition("\n")[0]).replace("``", "`").rstrip(".")
    documented = meanings(cls)
    options = [
        Option(
            f"{component}.{node_name(name)}.{option.upper()}",
            type(default).__name__,
            default,
            documented.get(option, ""),
        )
        for option, default in options_of(cls).items()
    ]
    about = about or "(no docstring)"
    return Entry(name, about, link[1] if link else "", options, place(cls))


def meanings(cls: type) -> dict[str, str]:
    """Return each option's text from the constructor's ``Args:``; ``a, b: text`` documents both."""
    doc = inspect.cleandoc(cls.__init__.__doc__ or "").partition("Args:\n")[2]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in doc.splitlines():
        start = re.match(r" {4}(\w+(?:, \w+)*): +(.*)", line)
        if start:
            names = start[1].split(", ")
            found |= dict.fromkeys(names, start[2])
        elif line.startswith(" " * 8):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return {name: text.replace("``", "`").rstrip(".") for name, text in found.items()}
