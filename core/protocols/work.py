"""What a worker does: one cell after another, each claimed before it is run."""

import functools
import logging
import time
import traceback
from pathlib import Path

from yacs.config import CfgNode

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.claim import take

ERROR = "error.txt"
# What became of a cell. REFUSED is an error that another attempt would meet again.
DONE, BUSY, FAILED, REFUSED = "done", "busy", "failed", "refused"


def run_cells(cells: list[dict], threads: int) -> list[dict]:
    """Run cells in a worker's process, on so many threads; return what became of each."""
    import torch

    torch.set_num_threads(threads)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the driver alone speaks; every run has its log.txt
    return [run_cell(cell) for cell in cells]


def run_cell(given: dict) -> dict:
    """Run one cell unless it is finished or claimed; return its state, error and seconds."""
    cell = Cell(**given)
    began = time.perf_counter()
    claim = None if cell.finished() else take(Path(cell.claims))
    if claim is None:
        return {"state": DONE if cell.finished() else BUSY, "seconds": 0.0}
    with claim:
        found = {"state": DONE} if cell.finished() else _attempt(cell)
    return found | {"seconds": time.perf_counter() - began}


def _attempt(cell: Cell) -> dict:
    report = Path(cell.claims, ERROR)
    report.unlink(missing_ok=True)
    try:
        _run(cell, cell.configuration())
    except UserError as error:
        return {"state": REFUSED, "error": str(error)}
    except Exception as error:  # of a plugin, above all: the other cells go on
        report.write_text(traceback.format_exc(), encoding="utf-8")
        last = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        return {"state": FAILED, "error": f"{last} (see {report})"}
    return {"state": DONE}


def _run(cell: Cell, cfg: CfgNode) -> None:
    from softprompt.core.engine.run import (  # takes seconds, and the driver runs no cell
        evaluate,
        train,
    )

    if cell.evaluate:
        evaluate(cfg, cell.model_dir, subsets=cfg.TEST.CLASSES, shared=_shared())
    else:
        train(cfg, resume=True, shared=_shared())


@functools.cache
def _shared():
    """What all cells of this process have in common."""
    from softprompt.core.engine.shared import Shared

    return Shared()
