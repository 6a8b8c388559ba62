"""The one exception type whose message is meant for the user."""


class UserError(ValueError):
    """A mistake the user can mend; the tools print its one line and exit with code 2."""


def closest(name: str, known) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name most like ``name``, or nothing."""
    from difflib import get_close_matches

    match = get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def reason(error: Exception) -> str:
    """What an error says in one line of moderate length."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
