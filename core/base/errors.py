"""The exception for mistakes of the user, and helpers for its message."""

from collections.abc import Iterable
from types import FrameType


class UserError(ValueError):
    """A mistake that the user can mend; the commands print its one line and exit with its code."""

    exit_code = 2


class PluginError(UserError):
    """An error inside a method of a plugin, which only its author can mend."""

    exit_code = 1


class InternalError(UserError):
    """An error of this package itself."""

    exit_code = 1


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar known name, "" if none is similar."""
    from difflib import get_close_matches

    match = get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def described(error: Exception) -> str:
    """Return an error's type, message and innermost place in this package, in one line."""
    import traceback

    said = f"{type(error).__name__}: {reason(error)}"
    own = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("softprompt.")
    ]
    if not own:
        return said
    frame, line = own[-1]
    return f"{said} ({frame.f_code.co_filename}, line {line}, in {function_of(frame)})"


def function_of(frame: FrameType) -> str:
    """Return the name of what a frame runs, as ``MyTrainer.loss`` if it is a method."""
    owner, name = frame.f_locals.get("self"), frame.f_code.co_name
    return name if owner is None else f"{type(owner).__name__}.{name}"


def shown(value: object) -> str:
    """Return a value for a message: its ``repr``, without the middle if it is long or deep."""
    import reprlib

    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 4, 160, 160, 40
    short.maxlist = short.maxtuple = short.maxdict = 12
    return short.repr(value)


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, shortened, or the name of its type."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
