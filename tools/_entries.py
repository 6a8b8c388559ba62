"""What a registered class says of itself: its docstring, its paper and its options."""

import inspect
import re
from typing import NamedTuple

LINK = re.compile(r"[,:]?\s*(https?://[^\s,;)]*[^\s,;:).])")


class Option(NamedTuple):
    key: str  # as in a config, such as TRAINER.PROMETAR.ADAPT_LR
    type: str
    default: object
    meaning: str


class Entry(NamedTuple):
    name: str
    about: str  # the first line of the class's docstring, without its link
    paper: str  # the link in the docstring's first paragraph
    options: list[Option]
    place: str


def entry_of(component: str, name: str, cls: type) -> Entry:
    """Return what a class says of itself; ``component`` is the config's node, such as TRAINER."""
    from softprompt.core.base.registry import place
    from softprompt.core.config.load import node_name, options_of

    text = inspect.cleandoc(cls.__doc__ or "")
    link = LINK.search(text.partition("\n\n")[0])
    about = LINK.sub("", text.partition("\n")[0]).replace("``", "`").rstrip(".")
    told = meanings(cls)
    options = [
        Option(
            f"{component}.{node_name(name)}.{option.upper()}",
            type(default).__name__,
            default,
            told.get(option, ""),
        )
        for option, default in options_of(cls).items()
    ]
    about = about or "(no docstring)"
    return Entry(name, about, link[1] if link else "", options, place(cls))


def meanings(cls: type) -> dict[str, str]:
    """Return what the constructor's ``Args:`` say of each option; ``a, b: text`` tells of both."""
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
