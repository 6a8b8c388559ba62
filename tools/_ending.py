"""How every tool ends: with an exit code, a user's mistake and an interrupt in one line each."""

import functools
import os
import sys
from collections.abc import Callable


def ends_in_one_line(interrupted: str = "interrupted") -> Callable:
    """Return a decorator for ``main(arguments) -> exit code``.

    A ``UserError`` becomes one line and code 2, an interrupt the line ``interrupted`` and 130, and
    a reader that has seen enough, say head, no line at all.
    """

    def decorate(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
        @functools.wraps(main)
        def run(arguments: list[str]) -> int:
            try:
                return main(arguments)
            except KeyboardInterrupt:
                print(interrupted, file=sys.stderr)
                return 130
            except BrokenPipeError:
                # What is left in the buffer would be written, and fail, at the interpreter's end.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 1
            except Exception as error:
                from softprompt.core.base.errors import (
                    UserError,  # not before, for torch comes with it
                )

                if not isinstance(error, UserError):
                    raise
                print(f"error: {error}", file=sys.stderr)
                return 2

        return run

    return decorate
