"""Processor seconds of this process: what many runs share apart from what is one run's own."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SHARED = "shared"  # key of the seconds of shared work


class Meter:
    """Sums the processor seconds of shared work, such as loading weights or decoding pictures.

    All threads of the process count, so its runs should follow each other. Processes that a run
    starts count once they have ended.
    """

    def __init__(self):
        self.shared = 0.0  # seconds
        self._depth = 0

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Count a block as shared work; blocks may be nested."""
        began, self._depth = processor_seconds(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.shared += processor_seconds() - began


class Metered:
    """A function whose calls are shared work."""

    def __init__(self, function: Callable[..., Any], meter: Meter):
        self.function = function
        self.meter = meter

    def __call__(self, *arguments: Any) -> Any:
        with self.meter.sharing():
            return self.function(*arguments)


class Laps:
    """The processor seconds of one run's phases, without the shared work within them."""

    def __init__(self, meter: Meter, began: float, shared_before: float = 0.0):
        """Begin the first phase.

        Args:
            began: ``processor_seconds()`` when the run began.
            shared_before: ``meter.shared`` at that time.
        """
        self.meter = meter
        self.shared_before = shared_before
        self.seconds: dict[str, float] = {}
        self._last = began - shared_before

    def end(self, phase: str) -> None:
        """End a phase and begin the next one."""
        own = processor_seconds() - self.meter.shared
        self.seconds[phase] = max(0.0, own - self._last)
        self._last = own

    def found(self) -> dict[str, float]:
        """Return the seconds of each phase, and those of shared work during the run."""
        return {**self.seconds, SHARED: self.meter.shared - self.shared_before}


def processor_seconds() -> float:
    """Return the seconds that all threads of this process, and its ended children, have run."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system
