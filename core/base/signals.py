"""SIGTERM and SIGUSR1, by which clusters announce the end of a job: end in order, with a word."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 143  # what a shell reports of a process that SIGTERM has ended
# Windows has no SIGUSR1.
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Terminated(SystemExit):
    """A signal has ended this process; its exit code is 143, and ``args`` may say what is saved."""

    def __init__(self, message: str = ""):
        super().__init__(message)
        self.code = EXIT_CODE


class Request:
    """Whether a signal has asked for the end, by its name."""

    name: str = ""


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Raise ``Terminated`` where a signal meets the program, so that its files are closed."""
    with _handled_by(_terminate):
        yield


@contextmanager
def deferred() -> Iterator[Request]:
    """Let a loop finish its step and save first: a signal is only noted, for the loop to read.

    A second one does not wait, as for a step that never ends.
    """
    request = Request()

    def note(number: int, _: Any) -> None:
        if request.name:
            raise Terminated
        request.name = signal.Signals(number).name

    with _handled_by(note):
        yield request


def _terminate(number: int, _: Any) -> None:
    raise Terminated


@contextmanager
def _handled_by(handler: Callable) -> Iterator[None]:
    """Handle the signals, unless somebody else does, such as a cluster's own launcher.

    Only a process's main thread may say how they are handled; in others they stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: usual
        for number in SIGNALS
        if (usual := signal.getsignal(number)) in (signal.SIG_DFL, _terminate)
    }
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
