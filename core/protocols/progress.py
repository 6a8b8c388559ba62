"""The progress of a sweep: a live table on a terminal, else a line for each cell and minute."""

import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import one_line
from softprompt.core.base.say import complain, say
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.queue import Queue
from softprompt.core.protocols.running import progress_of, short_names
from softprompt.core.protocols.runs import accuracies

WIDTH = 80
STATUS = 60.0  # seconds between two lines on running cells, where there is no live table


class Progress:
    """Watches a sweep and prints how far it is."""

    def __init__(self, queue: Queue, summary: Callable[[Cell], str] | None = None):
        """Print how many cells there are, and what the names of all have in common.

        Args:
            summary: describes the results of a finished cell, for its line.
        """
        self.queue = queue
        self.summary = summary
        self.names, common = short_names(queue.cells)
        self.start = self.said = time.perf_counter()
        self.seconds: dict[str, list[float]] = {}  # of the cells of each method
        self.scores: dict[str, dict[str, list[float]]] = {}  # by method and class set
        self.todo = len(queue.waiting)
        self.done = 0
        self.live = sys.stdout.isatty()
        self.lines = 0  # height of the table on the terminal
        self.waited: set[str] = set()  # names of the cells that were last said to be waited for
        finished = len(queue.cells) - self.todo
        say(f"{len(queue.cells)} cells, {finished} of them finished already")
        for line in common if self.todo else ():
            say(textwrap.fill(one_line(line), WIDTH, subsequent_indent="  "))

    def started(self, cells: list[Cell]) -> None:
        self._redraw()

    def ended(self, cell: Cell, error: str, seconds: float) -> None:
        self.done += 1
        self.seconds.setdefault(cell.method, []).append(seconds)
        if not error:
            self._add_scores(cell)
        if self.live and not error:
            return
        words = [f"FAILED: {error}"] if error else []
        if not error:
            words += [self.summary(cell)] if self.summary else []
            words.append(f"{seconds:.{int(seconds < 10)}f} s")
        words.append(self._remaining())
        line = ", ".join(word for word in words if word)
        self._erase()
        say(one_line(f"[{self.done}/{self.todo}] {self.names[cell.folder]}: {line}"))

    def waiting(self, cells: list[Cell]) -> None:
        """Say what is waited for: cells that other processes run, until they finish or die."""
        used = {cell.name: by for cell in cells if (by := cell.used_by())}
        if not used or self.waited == set(used):
            return
        self.waited = set(used)
        name, by = next(iter(used.items()))
        others = f" and {len(used) - 1} others" if len(used) > 1 else ""
        self._erase()
        say(f"waiting for {name}{others}, which {by} runs")

    def tick(self) -> None:
        self._redraw()
        if not self.live and time.perf_counter() - self.said > STATUS:
            self.said = time.perf_counter()
            for line in self._status():
                say(one_line(line))

    def _status(self) -> list[str]:
        """Return a line for each running cell that says how far it is, and the means so far."""
        running = [(cell, progress_of(Path(cell.folder))) for cell in self.queue.running.values()]
        lines = [f"  {self.names[cell.folder]}: {inside}" for cell, inside in running if inside]
        means = ((method, self._so_far(method)) for method in self.scores)
        return lines + [f"  {self.names[method]} so far: {mean}" for method, mean in means if mean]

    def _add_scores(self, cell: Cell) -> None:
        try:
            found = accuracies(Path(cell.folder)) or {}
        except UserError:  # of a meta-training, or damaged since
            return
        for subset, accuracy in found.items():
            self.scores.setdefault(cell.method, {}).setdefault(subset, []).append(accuracy)

    def _so_far(self, method: str) -> str:
        """Return the mean accuracy of a method's cells that have ended, on each class set."""
        by_set = self.scores.get(method, {})
        return ", ".join(f"{subset} {fmean(values):.1f}" for subset, values in by_set.items())

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
                    one_line(self.names[method]),
                    f"{count - left}/{count}",
                    self._inside(method),
                    failed[method] or None,
                    f"{fmean(seconds):.1f}" if seconds else None,
                    self._so_far(method),
                ]
            )
        headers = ["method", "finished", "running", "failed", "s a cell", "accuracy so far"]
        table = tabulate(rows, headers, missingval="", disable_numparse=True)
        minutes = (time.perf_counter() - self.start) / 60
        end = ", ".join(word for word in (f"{minutes:.1f} min", self._remaining()) if word)
        lines = [*table.splitlines(), end]
        width = shutil.get_terminal_size().columns - 1  # a wrapped line could not be erased
        self._erase()
        say("\n".join(line[:width] for line in lines))
        self.lines = len(lines)

    def _inside(self, method: str) -> str:
        """Return how many cells of a method run, and how far the first one that says so is."""
        cells = [cell for cell in self.queue.running.values() if cell.method == method]
        inside = next((it for cell in cells if (it := progress_of(Path(cell.folder)))), "")
        return f"{len(cells)}" * bool(cells) + f", {inside}" * bool(inside)

    def _erase(self) -> None:
        if self.lines:
            sys.stdout.write(f"\x1b[{self.lines}F\x1b[J")
            self.lines = 0

    def _remaining(self) -> str:
        if not self.done:
            return ""
        left = len(self.queue.waiting) + len(self.queue.running)
        minutes = round((time.perf_counter() - self.start) / self.done * left / 60)
        return f"about {minutes} min left" if minutes else ""


def print_failures(errors: dict[str, str], cells: int) -> int:
    """Print the errors of the cells that failed, if any, and return the exit code: 1 if so."""
    if not errors:
        return 0
    complain("")
    complain(f"{len(errors)} of {cells} cells failed:")
    for name, error in errors.items():
        complain(f"  {name}: {error}")
    return 1
