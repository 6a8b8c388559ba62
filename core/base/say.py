"""The door to the terminal for all that is not logged."""

import sys
from io import TextIOWrapper

from softprompt.core.base.escape import in_lines, one_line


def say(text: str = "", *, end: str = "\n") -> None:
    """Print text to standard output at once, whatever it contains."""
    print(in_lines(text), end=end, flush=True)


def complain(text: str) -> None:
    """Print one line to standard error."""
    print(one_line(text), file=sys.stderr, flush=True)


def print_anything() -> None:
    """Let both streams show what their encoding lacks by its code, not end in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what replaces it in a notebook takes all
            stream.reconfigure(errors="backslashreplace")
