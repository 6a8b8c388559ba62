"""What the command-line tools share: how they end, and KEY VALUE pairs among their arguments."""

import argparse
import errno
import functools
import itertools
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from softprompt.core.base.blame import blaming_plugins
from softprompt.core.base.errors import InternalError, UserError, described, shown
from softprompt.core.base.files import FULL, DiskFull, write_error
from softprompt.core.base.say import complain, print_anything
from softprompt.core.base.signals import EXIT_CODE, Terminated, ending_in_order

Main = Callable[[list[str]], int]
KEY = re.compile(r"PLUGINS|USE_CUDA|SEED|OUTPUT_DIR|[A-Z]+(\.[A-Z0-9_]+)+")

DEBUG = "SOFTPROMPT_DEBUG"  # environment variable: print tracebacks
UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP)  # errors of a path that someone has typed
TRUST = "import the code that a run's own settings name in PLUGINS"  # help of --trust-plugins


def command(interrupted: str = "interrupted") -> Callable[[Main], Main]:
    """Return a decorator for a tool's ``main(arguments) -> exit code``.

    A ``UserError`` and a full disk are printed in one line and exit with 2. Any other error, of a
    plugin's method or of this package, is printed in one line with its place and exits with 1.
    ``--debug``, which every tool takes, and the environment variable ``SOFTPROMPT_DEBUG`` print
    both's traceback. Ctrl-C prints ``interrupted`` and exits with 130. SIGTERM and SIGUSR1 print
    it, or what the tool says of them, and exit with 143. A reader that closes the pipe early, such
    as ``head``, causes no message. ``--a_flag`` is read as ``--a-flag``.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def run(arguments: list[str]) -> int:
            print_anything()
            # Such a picture is an error here, so Pillow need not warn of it.
            warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
            debug = "--debug" in arguments or os.environ.get(DEBUG, "") not in ("", "0")
            try:
                with ending_in_order(), blaming_plugins():
                    code = main(_consistent(arguments))
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
            except Exception as error:  # one line, whatever a plugin raises
                if debug:
                    traceback.print_exc()
                told = _told(error)
                hint = "; --debug shows the traceback" if told.exit_code == 1 and not debug else ""
                complain(f"error: {told}{hint}")
                if isinstance(told, DiskFull):
                    _drop_output()
                return told.exit_code

        return run

    return decorate


def _told(error: Exception) -> UserError:
    """Return an error as it is told: with a line that names its place if it is nobody's mistake."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno in FULL:
        return write_error(error, error.filename or "a file", "run the same command again")
    if isinstance(error, OSError) and error.errno in UNUSABLE:
        return UserError(f"no file can be called {shown(str(error.filename))}: {error.strerror}")
    return InternalError(described(error))


def _drop_output() -> None:
    """Discard what standard output cannot take: at exit it would be written, and fail, again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are told in one line, like all others."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        # For --help alone: ``command`` takes the flag away.
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help=f"print the traceback of an error, as {DEBUG}=1 does",
        )

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]  # of two overloads
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Parse as usual, but read ``--seed`` and ``--seeds`` as the one that the tool has."""
        words = sys.argv[1:] if args is None else args
        for there, other in (("--seed", "--seeds"), ("--seeds", "--seed")):
            if there in self._option_string_actions:
                words = [re.sub(rf"^{other}(?==|$)", there, word) for word in words]
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help lists what it takes")


def add_run_flags(parser: argparse.ArgumentParser, what: str, root: str) -> None:
    """Add the flags of a tool that makes one run of a configuration.

    Args:
        what: the help of ``--config-file``.
        root: the help of ``--root``.
    """
    parser.add_argument("--config-file", default="", help=what)
    parser.add_argument("--root", help=root)
    parser.add_argument("--output-dir", help="OUTPUT_DIR, where the run is written")
    parser.add_argument("--seed", type=at_least(0), help="SEED")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="continue the run in RUN, or in --output-dir",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print all settings as YAML, and neither train nor write anything",
    )
    parser.add_argument("--trust-plugins", action="store_true", help=TRUST)
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="any configuration key")


def at_least(least: int) -> Callable[[str], int]:
    """Return the ``type`` of an argument that takes whole numbers from ``least`` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def _consistent(arguments: list[str]) -> list[str]:
    """Return the arguments of a tool: without ``--debug``, flags with hyphens for underscores."""
    return [
        re.sub(r"^--[a-z][a-z_-]*", lambda flag: flag[0].replace("_", "-"), word)
        for word in arguments
        if word != "--debug"
    ]


def refuse_together(given: argparse.Namespace, mode: str, *others: str) -> None:
    """Raise ``UserError`` if a flag is given that does nothing beside the flag ``mode``.

    Args:
        mode: the flag that is given, such as "--list".
        others: flags, each at its default unless the user gave it: None, False, 0, "" or [].
    """
    idle = [flag for flag in others if getattr(given, flag[2:].replace("-", "_"))]
    if idle:
        raise UserError(f"{' and '.join(idle)} would do nothing beside {mode}; leave one out")


def resume_apart(arguments: list[str]) -> list[str]:
    """Keep ``--resume`` from reading a KEY that follows it as its folder."""
    apart = list(arguments)
    for index, word in enumerate(arguments[:-1]):
        follows = arguments[index + 1]
        if word == "--resume" and KEY.fullmatch(follows) and not Path(follows).exists():
            apart[index] = "--resume="
    return apart


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
