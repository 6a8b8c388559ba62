"""The exception for mistakes of the user, and helpers for its message."""

from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend; the commands print its one line and exit with its code."""

    exit_code = 2


class PluginError(UserError):
    """An error inside a method of a plugin, which only its author can mend."""

    exit_code = 1


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar known name, "" if none is similar."""
    from difflib import get_close_matches

    match = get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


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
