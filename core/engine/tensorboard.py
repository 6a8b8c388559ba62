"""TensorBoard's files, which are a luxury: if they cannot be written, a run goes on without."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softprompt.core.base.errors import reason
from softprompt.core.base.log import logger


class TensorBoard:
    """A ``SummaryWriter`` that is given up with a warning at the first error of writing."""

    def __init__(self, folder: Path, purge_step: int | None = None):
        """Write nothing yet: the files begin with the first values.

        Args:
            folder: where the files are.
            purge_step: earlier files' values from this step on are void.
        """
        self.folder = folder
        self.purge_step = purge_step
        self.given_up = False
        self._writer: Any = None
        self._quiet: _QuietThreads | None = None

    def add(self, kind: str, *values: Any, **options: Any) -> None:
        """Call a method of the writer: "scalar", "figure", "embedding" or "hparams"."""
        self._attempt(lambda: getattr(self._open(), f"add_{kind}")(*values, **options))

    def flush(self) -> None:
        """Hand all values to the operating system."""
        if self._writer is not None:
            self._attempt(self._writer.flush)

    def close(self) -> None:
        """Write what is left and close the files."""
        if self._writer is not None:
            self._attempt(self._writer.close)
        self._writer = None
        if self._quiet is not None:
            self._quiet.end()

    def _open(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._quiet = _QuietThreads()
            self._writer = SummaryWriter(self.folder, purge_step=self.purge_step)
        return self._writer

    def _attempt(self, write: Callable[[], Any]) -> None:
        if self.given_up:
            return
        try:
            write()
        except OSError as error:
            self.given_up = True
            logger.warning(
                f"TensorBoard's files in {self.folder} cannot be written "
                f"({error.strerror or reason(error)}); the run goes on without them"
            )


class _QuietThreads:
    """Keep threads that are started from now on from printing a traceback of a write's error.

    A writer's own thread raises the error for Python to print, and its next call raises it again.
    """

    def __init__(self):
        self.others = set(threading.enumerate())
        self.usual = threading.excepthook
        self.active = True
        threading.excepthook = self._report

    def end(self) -> None:
        self.active = False
        if threading.excepthook == self._report:  # else another one has followed, and calls this
            threading.excepthook = self.usual

    def _report(self, failure: threading.ExceptHookArgs) -> None:
        ours = self.active and failure.thread not in self.others
        if not (ours and isinstance(failure.exc_value, OSError)):
            self.usual(failure)
