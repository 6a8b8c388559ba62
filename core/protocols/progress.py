"""What a sweep shows while it goes on: a live table on a terminal, else a line for each cell."""

import shutil
import sys
import time
from collections import Counter

from tabulate import tabulate

from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.queue import Queue


class Progress:
    """Watches a sweep and prints how far it is."""

    def __init__(self, queue: Queue):
        self.queue = queue
        self.began = time.perf_counter()
        self.spent: dict[str, list[float]] = {}  # seconds of cells by method
        self.todo = len(queue.waiting)
        self.done = 0
        self.live = sys.stdout.isatty()
        self.lines = 0  # of the table that stands on the terminal
        there = len(queue.cells) - self.todo
        print(f"{len(queue.cells)} cells, {there} of them there already", flush=True)

    def started(self, cells: list[Cell]) -> None:
        self._draw()

    def ended(self, cell: Cell, error: str, seconds: float) -> None:
        self.done += 1
        self.spent.setdefault(_method(cell), []).append(seconds)
        if self.live and not error:
            return
        said = f"FAILED: {error}" if error else f"{seconds:.1f} s"
        self._erase()
        print(f"[{self.done}/{self.todo}] {cell.name}: {said}{self._left()}", flush=True)

    def tick(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if not self.live:
            return
        finished = Counter(_method(cell) for cell in self.queue.cells)
        waiting = Counter(_method(cell) for cell in self.queue.waiting)
        running = Counter(_method(cell) for cell in self.queue.given.values())
        failed = Counter(
            _method(cell) for cell in self.queue.cells if cell.folder in self.queue.errors
        )
        rows = []
        for method, total in finished.items():
            seconds = self.spent.get(method)
            left = waiting[method] + running[method] + failed[method]
            rows.append(
                [
                    method,
                    f"{total - left}/{total}",
                    running[method] or None,
                    failed[method] or None,
                    sum(seconds) / len(seconds) if seconds else None,
                ]
            )
        heads = ["method", "finished", "running", "failed", "seconds a cell"]
        table = tabulate(rows, heads, floatfmt=".1f", missingval="")
        spent = time.perf_counter() - self.began
        lines = [*table.splitlines(), f"{spent / 60:.1f} min{self._left()}"]
        width = shutil.get_terminal_size().columns - 1  # what wraps could not be erased
        self._erase()
        print(*(line[:width] for line in lines), sep="\n", flush=True)
        self.lines = len(lines)

    def _erase(self) -> None:
        if self.lines:
            sys.stdout.write(f"\x1b[{self.lines}F\x1b[J")
            self.lines = 0

    def _left(self) -> str:
        if not self.done:
            return ""
        left = len(self.queue.waiting) + len(self.queue.given)
        minutes = round((time.perf_counter() - self.began) / self.done * left / 60)
        return f"; about {minutes} min left" if minutes else ""


def _method(cell: Cell) -> str:
    return "/".join(cell.name.split("/")[1:3])
