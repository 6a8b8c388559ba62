"""Record a training while it runs: metrics.jsonl, TensorBoard, the progress bar and the log."""

import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from yacs.config import CfgNode

from softprompt.core.base import parallel
from softprompt.core.base.blame import plugin_error
from softprompt.core.base.errors import UserError, described
from softprompt.core.base.files import write_atomically
from softprompt.core.base.log import log_to_file, logger
from softprompt.core.engine.run_folder import write_config


@contextmanager
def open_run(cfg: CfgNode, folder: Path) -> Iterator[None]:
    """Create the run's folder, save ``config.yaml`` there, and log to its ``log.txt`` meanwhile.

    Only the main process writes, after all have seen the folder as it was.
    """
    parallel.barrier()
    if not parallel.is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_config(cfg, folder)
    handler = log_to_file(folder)
    try:
        yield
    except Exception as error:  # to the file alone; the command prints one line on the screen
        said = str(error)
        if not isinstance(error, UserError):
            said = f"{plugin_error(error) or described(error)}\n{traceback.format_exc()}"
        for line in f"stopped: {said}".splitlines():
            handler.handle(logging.makeLogRecord({"msg": line}))
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()


class Recorder:
    """Write the numbers of every step; a context manager that closes its files.

    Only the main process writes. In the others every method does nothing.
    """

    def __init__(self, folder: Path, total: int, *, start: int = 0, tag: str = "train"):
        """Open the files, without the steps that an interrupted run recorded after its checkpoint.

        Args:
            folder: the run's folder.
            total: steps from the first to the last.
            start: steps that are done already, when a run is resumed.
            tag: the prefix of the steps' numbers in TensorBoard.

        Raises:
            UserError: ``metrics.jsonl`` has fewer than ``start`` lines.
        """
        self.active = parallel.is_main_process()
        if not self.active:
            return
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        self.total = total
        self.start = start
        self.tag = tag
        self.metrics = open_truncated(folder / "metrics.jsonl", start)
        self.tensorboard = SummaryWriter(folder / "tensorboard", purge_step=start or None)
        self.bar = tqdm(total=total, initial=start, leave=False, disable=not sys.stderr.isatty())
        self.began = time.perf_counter()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_) -> None:
        if self.active:
            self.bar.close()
            self.metrics.close()
            self.tensorboard.close()

    def step(self, step: int, terms: dict[str, float], lr: float, **position: int) -> None:
        """Record a step, counted from 0; ``position`` is written beside it, such as ``epoch=3``."""
        if not self.active:
            return
        self.metrics.write(json.dumps({"step": step, **position, "lr": lr, **terms}) + "\n")
        self.scalars(step, {**terms, "lr": lr}, self.tag)
        self.bar.update()

    def scalars(self, step: int, values: dict[str, float], tag: str) -> None:
        """Write values to TensorBoard alone, as ``tag/name``."""
        if self.active:
            for name, value in values.items():
                self.tensorboard.add_scalar(f"{tag}/{name}", value, step)

    def log(self, line: str) -> None:
        """Log a line without tearing the progress bar."""
        if self.active:
            self.bar.clear()
            logger.info(line)

    def log_progress(self, step: int, line: str) -> None:
        """Log a line about a recorded step, with an estimate of the time that is left."""
        if self.active:
            spent = time.perf_counter() - self.began
            left = spent / (step + 1 - self.start) * (self.total - step - 1)
            self.log(f"{line} eta {timedelta(seconds=round(left))}")

    def flush(self) -> None:
        """Hand what is recorded to the operating system, before a checkpoint relies on it."""
        if self.active:
            self.metrics.flush()
            self.tensorboard.flush()


def check_finite(terms: dict[str, float], where: str, advice: str) -> None:
    """Stop a training that has diverged.

    Args:
        where: such as "in epoch 1, batch 2".
        advice: what is saved and what may help.

    Raises:
        UserError: one of the terms is NaN or infinite.
    """
    for name, value in terms.items():
        if not math.isfinite(value):
            values = ", ".join(f"{key} {term:.4g}" for key, term in terms.items())
            raise UserError(f"the term {name!r} is {value} {where} ({values}); {advice}")


def open_truncated(file: Path, count: int) -> TextIO:
    """Open a file for appending after its first ``count`` lines; the rest is cut off atomically.

    Raises:
        UserError: it has fewer lines.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = file.read_text(encoding="utf-8").splitlines(True) if file.exists() else []
    if len(lines) < count:
        raise UserError(f"{file} has {len(lines)} lines, but its run had made {count} steps")
    if len(lines) > count:
        write_atomically(file, "".join(lines[:count]))
    return open(file, "a", encoding="utf-8")  # closed by the recorder
