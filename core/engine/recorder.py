"""Record a training while it runs: metrics.jsonl, TensorBoard, the progress bar and the log."""

import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TextIO

import torch
from torch import Tensor
from yacs.config import CfgNode

from softprompt.core.base import parallel
from softprompt.core.base.blame import plugin_error
from softprompt.core.base.errors import UserError, described
from softprompt.core.base.files import FULL, write_atomically, write_error, writing_to
from softprompt.core.base.log import log_to_file, logger
from softprompt.core.base.signals import Terminated
from softprompt.core.engine.run_folder import sole_writer, write_config
from softprompt.core.engine.tensorboard import TensorBoard

RECORD = "metrics.jsonl"  # of a run's folder: a line for each step
THEN = "go on with --resume"  # once there is room on the disk


@contextmanager
def open_run(
    cfg: CfgNode, folder: Path, check: Callable[[], None] = lambda: None
) -> Iterator[Callable[[], None]]:
    """Create the run's folder, save ``config.yaml`` there, and log to its ``log.txt`` meanwhile.

    Only the main process writes, after all have seen the folder as it was; it is the only writer.

    Args:
        check: called once nobody else writes there; raises ``UserError`` if the folder has changed.

    Yields:
        A function that raises ``UserError`` once the folder is not this process's any more.

    Raises:
        UserError: another process writes there, the folder has changed, or the disk is full.
    """
    parallel.barrier()
    if not parallel.is_main_process():
        yield lambda: None
        return
    with sole_writer(folder) as confirm:
        check()
        with writing_to(folder, THEN):
            handler = log_to_file(folder)  # first: it can fail, and the old settings stay then
            write_config(cfg, folder)
        level = logger.level
        if level == logging.NOTSET:  # a program that calls this need not have set up any logging
            logger.setLevel(logging.INFO)
        try:
            yield confirm
        except OSError as error:
            if error.errno not in FULL:
                _log_end(handler, error)
                raise
            full = write_error(error, error.filename or folder, THEN)
            _log_end(handler, full)
            raise full from None
        except (Exception, Terminated) as error:
            _log_end(handler, error)
            raise
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)
            handler.close()


def _log_end(handler: logging.Handler, error: Exception | Terminated) -> None:
    """Write why a run ends to its file alone; the command prints one line on the screen."""
    said = str(error)
    if not isinstance(error, UserError | Terminated):
        said = f"{plugin_error(error) or described(error)}\n{traceback.format_exc()}"
    for line in f"stopped: {said}".splitlines():
        handler.handle(logging.makeLogRecord({"msg": line}))


class Recorder:
    """Write the numbers of every step; a context manager that closes its files.

    Only the main process writes. In the others every method does nothing.
    """

    def __init__(self, folder: Path, total: int, *, start: int = 0, tag: str = "train"):
        """Open the files, without the steps that an interrupted run recorded after its checkpoint.

        Steps before it that have got lost are named in the log; going on does not need them.

        Args:
            folder: the run's folder.
            total: steps from the first to the last.
            start: steps that are done already, when a run is resumed.
            tag: the prefix of the steps' numbers in TensorBoard.

        Raises:
            UserError: ``metrics.jsonl`` cannot be written.
        """
        self.active = parallel.is_main_process()
        if not self.active:
            return
        self.total = total
        self.start = start
        self.tag = tag
        self.file = folder / RECORD
        with writing_to(self.file, THEN):
            self.metrics = open_truncated(self.file, start)
        self.tensorboard = TensorBoard(folder / "tensorboard", purge_step=start or None)
        self.bar: Any = None
        if sys.stderr.isatty():  # elsewhere its lock of the whole system would be of no use
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=start, leave=False)
        self.began = time.perf_counter()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_) -> None:
        if not self.active:
            return
        if self.bar is not None:
            self.bar.close()
        self.tensorboard.close()
        with writing_to(self.file, THEN):
            self.metrics.close()

    def step(self, step: int, terms: dict[str, float], lr: float, **position: int) -> None:
        """Record a step, counted from 0; ``position`` is written beside it, such as ``epoch=3``."""
        if not self.active:
            return
        with writing_to(self.file, THEN):
            self.metrics.write(json.dumps({"step": step, **position, "lr": lr, **terms}) + "\n")
        self.scalars(step, {**terms, "lr": lr}, self.tag)
        if self.bar is not None:
            self.bar.update()

    def scalars(self, step: int, values: dict[str, float], tag: str) -> None:
        """Write values to TensorBoard alone, as ``tag/name``."""
        if self.active:
            for name, value in values.items():
                self.tensorboard.add("scalar", f"{tag}/{name}", value, step)

    def log(self, line: str) -> None:
        """Log a line without tearing the progress bar."""
        if self.active:
            if self.bar is not None:
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
            with writing_to(self.file, THEN):
                self.metrics.flush()
            self.tensorboard.flush()


def check_finite(terms: dict[str, float], where: str, advice: Callable[[], str]) -> None:
    """Stop a training that has diverged.

    Args:
        where: such as "in epoch 1, batch 2".
        advice: returns what is saved and what may help.

    Raises:
        UserError: one of the terms is NaN or infinite.
    """
    for name, value in terms.items():
        if not math.isfinite(value):
            values = ", ".join(f"{key} {term:.4g}" for key, term in terms.items())
            raise UserError(f"the term {name!r} is {value} {where} ({values}); {advice()}")


def check_tensors(tensors: Mapping[str, Tensor], where: str, advice: Callable[[], str]) -> None:
    """Stop a training whose last update has made a trained tensor NaN or infinite.

    Args:
        where, advice: as for ``check_finite``.

    Raises:
        UserError: one of the tensors is not finite.
    """
    finite = torch.stack([value.detach().isfinite().all() for value in tensors.values()])
    if finite.all():  # read from the device once
        return
    (name, *_) = (name for name, whole in zip(tensors, finite.tolist(), strict=True) if not whole)
    raise_not_finite(name, where, advice)


def raise_not_finite(name: str, where: str, advice: Callable[[], str]) -> NoReturn:
    """Stop a training because a trained tensor of this name is NaN or infinite."""
    raise UserError(f"the trained tensor {name!r} is not finite {where}; {advice()}")


def open_truncated(file: Path, count: int) -> TextIO:
    """Open a run's record for appending after its first ``count`` steps; the rest is cut off.

    Of steps that have got lost, as by a power cut, the log says how many.
    """
    content = file.read_bytes() if file.exists() else b""
    kept: dict[int, bytes] = {}
    for line in content.splitlines(keepends=True):
        step = _step_of(line)
        if step is not None and step < count:
            kept.setdefault(step, line)
    missing = count - len(kept)
    if missing:
        logger.warning(
            f"{file} has lost {missing} of the {count} steps before this one, which going on does "
            "not need"
        )
    whole = b"".join(kept.values())
    if whole != content:
        write_atomically(file, whole)
    return open(file, "a", encoding="utf-8")  # closed by the recorder


def _step_of(line: bytes) -> int | None:
    """Return the number of the step that a line records, None if it is not whole."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) and line.endswith(b"\n") else None
