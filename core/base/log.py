"""The package's logger, and its two outputs: the console and a run's ``log.txt``."""

import logging
import sys
from pathlib import Path

logger = logging.getLogger("softprompt")


def log_to_console() -> None:
    """Print the log to standard output, bare; a second call adds nothing."""
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log_to_file(folder: Path) -> logging.Handler:
    """Append the log, with times, to ``folder/log.txt``; return the handler, for the caller to
    remove and close.
    """
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    return handler
