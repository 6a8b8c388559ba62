"""A worker: runs one cell after another, each under a lease."""

import functools
import logging
import os
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import write_error
from softprompt.core.base.leases import acquire
from softprompt.core.base.log import logger
from softprompt.core.engine.run_folder import FolderInUse
from softprompt.core.protocols.cells import Cell

if TYPE_CHECKING:
    from softprompt.core.engine.shared import Shared

ERROR = "error.txt"
# Outcomes of a cell. LEASED: another worker runs it. REFUSED: an error that a retry would repeat.
DONE, LEASED, FAILED, REFUSED = "done", "leased", "failed", "refused"


def threads_asked() -> int:
    """Return the threads that ``OMP_NUM_THREADS`` asks for, 0 if it asks for none."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # of nested levels
    return int(first) if first.isdecimal() else 0


def run_cells(cells: list[dict], threads: int) -> list[dict]:
    """Run cells in this process, on so many threads; return the outcome of each."""
    import torch

    torch.set_num_threads(threads)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # only the driver prints; every run has its log.txt
    return [run_cell(cell) for cell in cells]


def run_cell(fields: dict) -> dict:
    """Run a cell unless it is finished or leased; return its state, error and seconds."""
    cell = Cell(**fields)
    start = time.perf_counter()
    try:
        outcome = _run_leased(cell)
    except OSError as error:  # of a folder that is a file, read-only or on a full disk
        refused = write_error(error, error.filename or cell.leases, "run the same command again")
        outcome = {"state": REFUSED, "error": str(refused)}
    return outcome | {"seconds": time.perf_counter() - start}


def _run_leased(cell: Cell) -> dict:
    lease = None if cell.finished() else acquire(Path(cell.leases))
    if lease is None:
        return {"state": DONE if cell.finished() else LEASED}
    with lease:
        return {"state": DONE} if cell.finished() else _attempt(cell)


def _attempt(cell: Cell) -> dict:
    report = Path(cell.leases, ERROR)
    report.unlink(missing_ok=True)
    module, _, function = cell.runner.partition(":")
    try:
        getattr(import_module(module), function)(cell)
    except FolderInUse:  # by a run of its own, outside of any sweep
        return {"state": LEASED}
    except UserError as error:
        return {"state": REFUSED, "error": str(error)}
    except Exception as error:  # often from a plugin: the other cells must still run
        last = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        try:
            report.write_text(traceback.format_exc(), encoding="utf-8")
        except OSError:  # the cell has failed for another reason, which is still told
            return {"state": FAILED, "error": last}
        return {"state": FAILED, "error": f"{last} (see {report})"}
    return {"state": DONE}


def train_cell(cell: Cell) -> None:
    """Train, or resume, the run of a cell and evaluate it."""
    from softprompt.core.engine.run import train  # imports torch: seconds that the driver spares

    train(cell.configuration(), resume=True, shared=_shared())


def evaluate_cell(cell: Cell) -> None:
    """Evaluate the prompts of ``cell.model_dir``, or CLIP itself, on the cell's dataset."""
    from softprompt.core.engine.run import evaluate

    cfg = cell.configuration()
    subsets = cell.subsets or cfg.TEST.CLASSES
    evaluate(cfg, cell.model_dir, cell.epoch, subsets, shared=_shared())


@functools.cache
def _shared() -> "Shared":
    """Return the frozen models and datasets that all cells of this process reuse."""
    from softprompt.core.engine.shared import Shared

    return Shared()
