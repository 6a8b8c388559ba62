"""The driver: hands cells to the workers of an engine until none is left."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from softprompt.core.protocols.cells import SWEEP, Cell
from softprompt.core.protocols.engines.engine import Engine, Workers
from softprompt.core.protocols.progress import Progress
from softprompt.core.protocols.queue import Queue

POLL = 1.0  # seconds between two looks at what another driver's workers have finished


class Watcher(Protocol):
    """An observer of the progress."""

    def started(self, cells: list[Cell]) -> None: ...

    def ended(self, cell: Cell, error: str, seconds: float) -> None: ...

    def waiting(self, cells: list[Cell]) -> None: ...

    def tick(self) -> None: ...


def run_cells(
    cells: list[Cell],
    engine: Engine,
    output: Path,
    *,
    retries: int = 1,
    summary: Callable[[Cell], str] | None = None,
) -> dict[str, str]:
    """Run the cells that have not finished and print the progress.

    Args:
        output: the folder of all runs, in which an engine may keep files of its own.
        retries: further attempts at a cell that failed or whose worker died.
        summary: describes the results of a finished cell, for its line of the progress.

    Returns:
        The errors of the cells that failed, by their names.

    Raises:
        UserError: the engine cannot be used as asked.
    """
    queue = Queue(cells, retries)
    progress = Progress(queue, summary)
    if not queue.ended:
        folder = output.expanduser().absolute() / SWEEP / engine.name
        drive(queue, engine.workers(folder, len(queue.waiting)), progress)
    return {cell.name: queue.errors[cell.folder] for cell in cells if cell.folder in queue.errors}


def drive(queue: Queue, workers: Workers, watcher: Watcher) -> None:
    """Run all cells of the queue; ``queue.errors`` then holds those that failed for good."""
    busy: dict[int, tuple[list[Cell], float]] = {}
    groups: dict[int, tuple[str, ...]] = {}  # of the cells that each worker ran last
    try:
        while not queue.ended:
            for worker in range(workers.count):
                if worker in busy:
                    continue
                cells = queue.take(groups.get(worker), workers.most)
                if not cells:
                    break
                workers.start(worker, [asdict(cell) for cell in cells])
                busy[worker] = cells, time.perf_counter()
                groups[worker] = cells[0].group
                watcher.started(cells)
            if not busy and not queue.ended:  # another driver's workers have leased the rest
                watcher.waiting(queue.waiting)
                time.sleep(POLL)
            for worker, outcome in workers.ended(POLL) if busy else ():
                cells, start = busy.pop(worker)
                seconds = (time.perf_counter() - start) / len(cells)
                if isinstance(outcome, str):
                    groups.pop(worker)  # a new process has loaded nothing yet
                for cell, error in queue.record_outcome(cells, outcome):
                    watcher.ended(cell, error, seconds)
            watcher.tick()
    finally:
        workers.close()
