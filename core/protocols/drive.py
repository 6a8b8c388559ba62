"""The driver: hands cells to an engine's workers until none is left."""

import time
from dataclasses import asdict
from typing import Protocol

from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.queue import Queue

POLL = 1.0  # seconds between two looks at what another driver's workers have finished


class Workers(Protocol):
    """What an engine provides: a fixed number of workers, each given some cells at a time."""

    count: int
    most: int  # cells that a worker is given at once

    def start(self, worker: int, cells: list[dict]) -> None:
        """Let a worker, counted from 0, run cells; a dead one is replaced first."""

    def ended(self, timeout: float) -> list[tuple[int, list[dict] | str]]:
        """Return each worker that has ended, with its cells' outcomes or how it died.

        Where none ends within ``timeout`` seconds, there are none.
        """

    def close(self) -> None:
        """End all workers, at work or not."""


class Watcher(Protocol):
    """What is told of the progress."""

    def started(self, cells: list[Cell]) -> None: ...

    def ended(self, cell: Cell, error: str, seconds: float) -> None: ...

    def tick(self) -> None: ...


def drive(queue: Queue, workers: Workers, watcher: Watcher) -> None:
    """Run all cells of the queue; what fails for good is in ``queue.errors``."""
    busy: dict[int, tuple[list[Cell], float]] = {}
    groups: dict[int, tuple] = {}  # of the cells that each worker had last
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
            if not busy:  # what is left is claimed by another driver's workers
                time.sleep(POLL)
            for worker, outcome in workers.ended(POLL) if busy else ():
                cells, began = busy.pop(worker)
                spent = (time.perf_counter() - began) / len(cells)
                if isinstance(outcome, str):
                    groups.pop(worker)  # a new process has loaded nothing yet
                for cell, error in queue.settle(cells, outcome):
                    watcher.ended(cell, error, spent)
            watcher.tick()
    finally:
        workers.close()
