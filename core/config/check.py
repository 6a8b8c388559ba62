"""Check the values of a configuration against the ranges and choices of their keys."""

import math
from collections.abc import Iterable
from typing import Any

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError, closest, shown
from softprompt.core.config.schema import Key
from softprompt.core.config.values import value_at

LARGEST = 2**63 - 1  # whole number that torch and NumPy take
SINGLE = 3.4e38  # the largest number of single precision


def check_values(cfg: CfgNode, keys: Iterable[Key]) -> None:
    """Raise ``UserError`` for the first value that its key does not take.

    Keys of nodes that the configuration lacks, as meta-training's does, are skipped.
    """
    for key in keys:
        if key.name.split(".")[0] in cfg:
            check_value(key, value_at(cfg, key.name))


def check_together(cfg: CfgNode) -> None:
    """Raise ``UserError`` for values that exclude one another."""
    optim = cfg.get("OPTIM")
    if optim and optim.NAME == "sgd" and optim.SGD_NESTEROV and not optim.MOMENTUM:
        raise UserError("OPTIM.SGD_NESTEROV is True, but needs an OPTIM.MOMENTUM above 0")


def check_value(key: Key, value: Any) -> None:
    """Raise ``UserError`` if a value, of the type of its key, is none that the key takes."""
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"{key.name} is {shown(value)}, with a character that no text has")
    if isinstance(value, tuple):
        _check_entries(key, value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(key, value)
    elif key.choices:
        _check_choice(key, value)


def _check_entries(key: Key, values: tuple) -> None:
    said = f"{key.name} is {shown(values)}, but takes {key.takes or 'finite numbers'}"
    if key.lengths and len(values) not in key.lengths:
        raise UserError(said)
    for one in values:
        number = isinstance(one, int | float) and not isinstance(one, bool)
        if key.choices:
            _check_choice(key, one)
        if key.numbers and not (number and one in key.numbers):
            raise UserError(said)
        if number and not math.isfinite(one):
            raise UserError(said)
    if key.ascending and list(values) != sorted(values):
        raise UserError(said)


def _check_choice(key: Key, value: Any) -> None:
    if value not in key.choices:
        similar = closest(str(value), key.choices)
        raise UserError(f"{key.name} is {shown(value)}{similar}; it takes {key.takes}")


def _check_number(key: Key, value: float) -> None:
    if isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{key.name} is {shown(value)}, but must be at most {LARGEST}")
    if SINGLE < abs(value) < math.inf and isinstance(value, float):
        raise UserError(f"{key.name} is {value}, beyond single precision's {SINGLE}")
    numbers = key.numbers
    unbounded = key.default == math.inf or (numbers is not None and numbers.unbounded)
    if not math.isfinite(value) and not (value == math.inf and unbounded):
        raise UserError(f"{key.name} is {value}, but must be a finite number")
    if numbers is None or value in numbers:
        return
    if numbers.otherwise is None:
        raise UserError(f"{key.name} is {value}, but must be {numbers}")
    number, word = numbers.otherwise
    raise UserError(f"{key.name} is {value}; give a number of {numbers}, or {number}: {word}")
