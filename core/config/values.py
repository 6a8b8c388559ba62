"""One configured value: read it in the type of its key's default."""

import ast
import re
from contextlib import suppress
from typing import Any

import yaml
from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, shown

Value = bool | int | float | str | tuple

_LIST = re.compile(r"[^\s,]+(,[^\s,]+)+")  # words without brackets: a.py,b.py
_WORDS = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: "a list such as (a, b)",
}


def coerce(value: Any, default: Any, key: str, source: str) -> Any:
    """Return ``value`` in the type of ``default``; text is read as a literal, an int is a float.

    Args:
        key: the dotted key, for the message.
        source: the file or command line that sets it, for the message.

    Raises:
        UserError: the value cannot be read in that type.
    """
    wanted = type(default)
    if wanted is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    read = _literal(value) if isinstance(value, str) else value
    if wanted is bool and isinstance(read, bool):
        return read
    if wanted is int and isinstance(read, int) and not isinstance(read, bool):
        return read
    if wanted is float and isinstance(read, int | float) and not isinstance(read, bool):
        with suppress(OverflowError):  # a whole number of more than 308 digits
            return float(read)
    if wanted in (tuple, list):
        if isinstance(read, str) and read:
            read = read.split(",") if _LIST.fullmatch(read) else (read,)
        if isinstance(read, tuple | list):
            return tuple(read)
    raise UserError(f"{source}: {key} is {shown(value)}, but takes {_WORDS.get(wanted, wanted)}")


def value_at(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _literal(text: str) -> Any:
    """Read text as Python, or as YAML, in which round brackets may replace square ones."""
    with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    if text.startswith("(") and text.endswith(")"):
        text = f"[{text[1:-1]}]"
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: 2026-13-01 is no date
        return text
