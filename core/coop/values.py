"""Enter official keys in the values of a method, as far as they have a counterpart here."""

from typing import Any

from softprompt.core.base.errors import UserError
from softprompt.core.coop.defaults import FIXED, IDLE, OPTIMIZERS, SCHEDULES, STEPS


class NoCounterpart(UserError):
    """An official key or value that has no meaning here."""


def enter(values: dict[str, Any], key: str, value: Any, node: str) -> None:
    """Set an official key in ``values``; raise ``NoCounterpart`` if it has none."""
    short = key.rsplit(".", 1)[-1]
    plain = key.replace("OPTIM_VNET.", "OPTIM.")
    if key in FIXED or plain in FIXED:
        wanted = FIXED.get(key, FIXED.get(plain))
        if value != wanted:
            raise NoCounterpart(
                f"the official {key} {value!r} has no counterpart here, only {wanted!r}"
            )
        return
    if IDLE.fullmatch(key):
        return
    _check_choice(key, value, node)
    if key == "OPTIM_VNET.MAX_EPOCH":
        return  # its schedule is never stepped
    if key.startswith("TRAINER.") and key.split(".")[1] != node:
        return  # another method's
    name = f"VNET_{short}" if key.startswith("OPTIM_VNET.") else short
    if not key.startswith(("OPTIM.", "OPTIM_VNET.", "TRAINER.")):
        name = key  # LOSS.LAMBDA, LOSS.T
    if name not in values:
        raise NoCounterpart(f"the official key {key} has no counterpart here")
    values[name] = _checked(key, value, values[name])


def _check_choice(key: str, value: Any, node: str) -> None:
    """Raise ``NoCounterpart`` for an optimizer or schedule that is none of ours."""
    if key == "OPTIM.NAME":
        # ProMetaR's gate has the prompts' optimizer here, and SGD in the official code.
        known = OPTIMIZERS[:1] if node == "PROMETAR" else OPTIMIZERS
    elif key == "OPTIM.LR_SCHEDULER":
        known = (*SCHEDULES, *STEPS)
    else:
        return
    if value not in known:
        *others, last = (repr(name) for name in known if name not in STEPS)
        named = f"{', '.join(others)} or {last}" if others else last
        raise NoCounterpart(f"the official {key} {value!r} has no counterpart here, only {named}")


def settle_schedule(values: dict[str, Any]) -> None:
    """Set the schedule of steps that never come to ``constant``; else raise ``NoCounterpart``.

    A size of 0 or less means no step. The schedule starts after the warm-up.
    """
    name, given = values["LR_SCHEDULER"], values["STEPSIZE"]
    if name not in STEPS:
        return
    sizes = tuple(given) if isinstance(given, list | tuple) else (given,)
    if name == "single_step":  # the last one counts
        sizes = sizes[-1:]
    if any(0 < size < values["MAX_EPOCH"] - max(0, values["WARMUP_EPOCH"]) for size in sizes):
        raise NoCounterpart(
            f"the official OPTIM.LR_SCHEDULER {name!r} with STEPSIZE {given!r} has no counterpart "
            "here; without a step before the last epoch it is 'constant'"
        )
    values["LR_SCHEDULER"] = "constant"


def _checked(key: str, value: Any, default: Any) -> Any:
    """Return ``value``; raise ``UserError`` unless it has its default's type."""
    if key.endswith(".CTX_INIT"):  # a bool in ProGrad's and KgCoOp's code
        kinds, wanted = (str, bool, type(None)), "words, True or False"
    elif isinstance(default, bool):
        kinds, wanted = (bool,), "True or False"
    elif isinstance(default, tuple):
        numbers = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
            raise UserError(f"the official {key} is {value!r}, but takes numbers")
        return value
    elif isinstance(default, str):
        kinds, wanted = (str,), "text"
    else:
        kinds, wanted = (int, float), "a number"
    if not isinstance(value, kinds) or isinstance(value, bool) and bool not in kinds:
        raise UserError(f"the official {key} is {value!r}, but takes {wanted}")
    return value
