"""The progress of a sweep: a live table on a terminal, else a line for each cell."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable

from tabulate import tabulate

from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.queue import Queue


class Progress:
    """Watches a sweep and prints how far it is."""

    def __init__(self, queue: Queue, summary: Callable[[Cell], str] | None = None):
        """Print how many cells there are.

        Args:
            summary: describes the results of a finished cell, for its line.
        """
        self.queue = queue
        self.summary = summary
        self.start = time.perf_counter()
        self.seconds: dict[str, list[float]] = {}  # of the cells of each method
        self.todo = len(queue.waiting)
        self.done = 0
        self.live = sys.stdout.isatty()
        self.lines = 0  # height of the table on the terminal
        self.waited: set[str] = set()  # names of the cells that were last said to be waited for
        finished = len(queue.cells) - self.todo
        print(f"{len(queue.cells)} cells, {finished} of them finished already", flush=True)

    def started(self, cells: list[Cell]) -> None:
        self._redraw()

    def ended(self, cell: Cell, error: str, seconds: float) -> None:
        self.done += 1
        self.seconds.setdefault(cell.method, []).append(seconds)
        if self.live and not error:
            return
        if error:
            line = f"FAILED: {error}"
        else:
            line = f"{self.summary(cell)}, {seconds:.1f} s" if self.summary else f"{seconds:.1f} s"
        self._erase()
        print(f"[{self.done}/{self.todo}] {cell.name}: {line}{self._remaining()}", flush=True)

    def waiting(self, cells: list[Cell]) -> None:
        """Say what is waited for: cells that other processes run, until they finish or die."""
        used = {cell.name: by for cell in cells if (by := cell.used_by())}
        if not used or self.waited == set(used):
            return
        self.waited = set(used)
        name, by = next(iter(used.items()))
        others = f" and {len(used) - 1} others" if len(used) > 1 else ""
        self._erase()
        print(f"waiting for {name}{others}, which {by} runs", flush=True)

    def tick(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        if not self.live:
            return
        total = Counter(cell.method for cell in self.queue.cells)
        waiting = Counter(cell.method for cell in self.queue.waiting)
        running = Counter(cell.method for cell in self.queue.running.values())
        failed = Counter(
            cell.method for cell in self.queue.cells if cell.folder in self.queue.errors
        )
        rows = []
        for method, count in total.items():
            seconds = self.seconds.get(method)
            left = waiting[method] + running[method] + failed[method]
            rows.append(
                [
                    method,
                    f"{count - left}/{count}",
                    running[method] or None,
                    failed[method] or None,
                    sum(seconds) / len(seconds) if seconds else None,
                ]
            )
        headers = ["method", "finished", "running", "failed", "seconds a cell"]
        table = tabulate(rows, headers, floatfmt=".1f", missingval="")
        minutes = (time.perf_counter() - self.start) / 60
        lines = [*table.splitlines(), f"{minutes:.1f} min{self._remaining()}"]
        width = shutil.get_terminal_size().columns - 1  # a wrapped line could not be erased
        self._erase()
        print(*(line[:width] for line in lines), sep="\n", flush=True)
        self.lines = len(lines)

    def _erase(self) -> None:
        if self.lines:
            sys.stdout.write(f"\x1b[{self.lines}F\x1b[J")
            self.lines = 0

    def _remaining(self) -> str:
        if not self.done:
            return ""
        left = len(self.queue.waiting) + len(self.queue.running)
        minutes = round((time.perf_counter() - self.start) / self.done * left / 60)
        return f"; about {minutes} min left" if minutes else ""


def print_failures(errors: dict[str, str], cells: int) -> int:
    """Print the errors of the cells that failed, if any, and return the exit code: 1 if so."""
    if not errors:
        return 0
    lines = [f"  {name}: {error}" for name, error in errors.items()]
    print(f"\n{len(errors)} of {cells} cells failed:", *lines, sep="\n", file=sys.stderr)
    return 1
