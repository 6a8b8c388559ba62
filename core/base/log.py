"""The package's logger, and its two outputs: the console and a run's ``log.txt``."""

import logging
import shutil
import sys
import textwrap
from pathlib import Path

from softprompt.core.base.escape import one_line

logger = logging.getLogger("softprompt")


class OneLine(logging.Formatter):
    """Every message on one line, without control characters, whatever names it contains."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        return super().formatMessage(record)


class Wrapped(OneLine):
    """The same, broken between words at the width of the terminal; rows of tables stay whole."""

    def format(self, record: logging.LogRecord) -> str:
        line, width = super().format(record), shutil.get_terminal_size().columns
        if len(line) <= width or "  " in line:
            return line
        return textwrap.fill(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )


class _Console(logging.StreamHandler):
    """Standard output; once nobody reads it or its disk is full, the program goes on without."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], OSError):
            logger.removeHandler(self)
        else:
            super().handleError(record)


class _LogFile(logging.FileHandler):
    """A run's ``log.txt``; if it cannot be written to, the run goes on without, and says so."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            logger.removeHandler(self)
            logger.warning(f"{self.baseFilename} gets no further lines: {error.strerror}")
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # of the line that could not be written
            pass


def log_to_console() -> None:
    """Print the log to standard output, bare; a second call adds nothing."""
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = _Console(sys.stdout)
        formatter = Wrapped if sys.stdout.isatty() else OneLine
        handler.setFormatter(formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log_to_file(folder: Path) -> logging.Handler:
    """Append the log, with times, to ``folder/log.txt``; return the handler, for the caller to
    remove and close.

    Raises:
        OSError: the file cannot be opened.
    """
    handler = _LogFile(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(OneLine("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    return handler


def log_lines(text: str) -> None:
    """Log a text of several lines, such as a table, line by line."""
    for line in text.split("\n"):
        logger.info(line)
