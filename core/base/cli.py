"""What the command-line tools share: how they end, and KEY VALUE pairs among their arguments."""

import argparse
import functools
import itertools
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from softprompt.core.base.blame import blaming_plugins
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import FULL, write_error
from softprompt.core.base.say import complain, print_anything
from softprompt.core.base.signals import EXIT_CODE, Terminated, ending_in_order

Main = Callable[[list[str]], int]
KEY = re.compile(r"PLUGINS|USE_CUDA|SEED|OUTPUT_DIR|[A-Z]+(\.[A-Z0-9_]+)+")

TRUST = "import the code that a run's own settings name in PLUGINS"  # help of --trust-plugins


def command(interrupted: str = "interrupted") -> Callable[[Main], Main]:
    """Return a decorator for a tool's ``main(arguments) -> exit code``.

    A ``UserError`` and a full disk are printed in one line and exit with 2, or with 1 if a plugin's
    code failed; Ctrl-C prints ``interrupted`` and exits with 130. SIGTERM and SIGUSR1 print it, or
    what the tool says of them, and exit with 143. A reader that closes the pipe early, such as
    ``head``, causes no message.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def run(arguments: list[str]) -> int:
            print_anything()
            # Such a picture is an error here, so Pillow need not warn of it.
            warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
            try:
                with ending_in_order(), blaming_plugins():
                    code = main(arguments)
                sys.stdout.flush()  # here a full disk is one line, at exit it is a traceback
                return code
            except KeyboardInterrupt:
                complain(interrupted)
                return 130
            except Terminated as end:
                complain(end.args[0] or interrupted)
                return EXIT_CODE
            except BrokenPipeError:
                _drop_output()
                return 1
            except UserError as error:
                complain(f"error: {error}")
                return error.exit_code
            except OSError as error:
                if error.errno not in FULL:
                    raise
                where = write_error(error, error.filename or "a file", "run the same command again")
                complain(f"error: {where}")
                _drop_output()
                return 2

        return run

    return decorate


def _drop_output() -> None:
    """Discard what standard output cannot take: at exit it would be written, and fail, again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def split_pairs(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the other words, and the KEY VALUE pairs that may stand anywhere among them.

    A flag that takes many words would swallow the pairs that follow it.
    """
    words: list[str] = []
    pairs: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if KEY.fullmatch(word) and not Path(word).exists():
            pairs += [word, *itertools.islice(rest, 1)]
        else:
            words.append(word)
    return words, pairs


def parse_with_pairs(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse arguments with KEY VALUE pairs, which become ``options`` and may stand anywhere.

    If there is a ``--``, the pairs are all that follows it.
    """
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="settings of all runs")
    if "--" in arguments:
        end = arguments.index("--")
        words, pairs = arguments[:end], arguments[end + 1 :]
    else:
        words, pairs = split_pairs(arguments)
    given = parser.parse_args(words)
    given.options += pairs
    return given
