"""The queue: which cells wait, in which order they are handed out, and which have failed."""

from collections import Counter
from pathlib import Path

from softprompt.core.engine.results import FILE
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.worker import DONE, LEASED, REFUSED


class Queue:
    """The cells of a sweep, handed out so that a worker loads few backbones and datasets."""

    def __init__(self, cells: list[Cell], retries: int):
        """Queue all cells that have not finished.

        Args:
            retries: further attempts at a cell that failed or whose worker died.
        """
        self.cells = cells
        self.retries = retries
        self.waiting = [cell for cell in cells if not cell.finished()]
        self.running: dict[str, Cell] = {}  # by folder: handed out, without an outcome yet
        self.attempts: Counter[str] = Counter()
        self.errors: dict[str, str] = {}  # by folder: cells that will not be tried again

    @property
    def ended(self) -> bool:
        return not self.waiting and not self.running

    def take(self, group: tuple[str, ...] | None, most: int) -> list[Cell]:
        """Hand out up to ``most`` cells of one group that can run now.

        The group is ``group``, the worker's last one, if possible; otherwise the largest, those
        that no worker is at first. Only the cells that are handed out are looked up on the disk,
        which may be slow and shared.
        """
        self._drop_dependents()
        sizes = Counter(cell.group for cell in self.waiting)
        occupied = {cell.group for cell in self.running.values()}
        order = sorted(sizes, key=lambda each: (each != group, each in occupied, -sizes[each]))
        for each in order:
            taken = self._ready([cell for cell in self.waiting if cell.group == each], most)
            if taken:
                self._remove(taken)
                self.running |= {cell.folder: cell for cell in taken}
                return taken
        return []

    def record_outcome(
        self, cells: list[Cell], outcome: list[dict] | str
    ) -> list[tuple[Cell, str]]:
        """Record the outcome of cells that were handed out.

        Args:
            outcome: that of each cell, or how their worker died.

        Returns:
            The cells that have ended, each with its error or "".
        """
        for cell in cells:
            del self.running[cell.folder]
        if isinstance(outcome, str):
            return self._record_death(cells, outcome)
        ended = []
        for cell, each in zip(cells, outcome, strict=True):
            if each["state"] == DONE:
                ended.append((cell, ""))
            elif each["state"] == LEASED:
                self.waiting.append(cell)
            elif each["state"] == REFUSED:
                ended.append(self._give_up(cell, each["error"]))
            else:
                ended += self._retry(cell, each["error"])
        return ended

    def _record_death(self, cells: list[Cell], how: str) -> list[tuple[Cell, str]]:
        """Charge the first unfinished cell; the worker had not started the ones after it."""
        ended = [(cell, "") for cell in cells if cell.finished()]
        left = [cell for cell in cells if not cell.finished()]
        if left:
            self.waiting += left[1:]
            ended += self._retry(left[0], how)
        return ended

    def _retry(self, cell: Cell, error: str) -> list[tuple[Cell, str]]:
        self.attempts[cell.folder] += 1
        if self.attempts[cell.folder] <= self.retries:
            self.waiting.append(cell)
            return []
        times = self.attempts[cell.folder]
        return [self._give_up(cell, f"{error}, attempt {times} of {times}" if times > 1 else error)]

    def _give_up(self, cell: Cell, error: str) -> tuple[Cell, str]:
        self.errors[cell.folder] = error
        return cell, error

    def _drop_dependents(self) -> None:
        """Give up the cells that depend on a failed one."""
        for cell in self.waiting:  # a plan lists a cell after the one that it depends on
            if cell.depends_on in self.errors:
                self.errors[cell.folder] = "not run, for the run that it depends on failed"
        self.waiting = [cell for cell in self.waiting if cell.folder not in self.errors]

    def _ready(self, cells: list[Cell], most: int) -> list[Cell]:
        """Return the first cells that can run; drop those that another driver has finished."""
        ready: list[Cell] = []
        for cell in cells:
            if len(ready) == most:
                break
            if cell.finished():
                self._remove([cell])
            elif cell.depends_on and not Path(cell.depends_on, FILE).is_file():
                continue
            elif not cell.used_by():
                ready.append(cell)
        return ready

    def _remove(self, cells: list[Cell]) -> None:
        folders = {cell.folder for cell in cells}
        self.waiting = [cell for cell in self.waiting if cell.folder not in folders]
