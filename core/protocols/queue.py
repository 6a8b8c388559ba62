"""Which cells wait, in which order they are handed out, and what becomes of those that fail."""

from collections import Counter
from pathlib import Path

from softprompt.core.engine.results import FILE
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.claim import held
from softprompt.core.protocols.work import BUSY, DONE, REFUSED


class Queue:
    """The cells of a sweep, handed out so that a worker meets few backbones and datasets."""

    def __init__(self, cells: list[Cell], retries: int):
        """Take in all cells; those that are finished stay out.

        Args:
            retries: further attempts at a cell that failed or whose worker died.
        """
        self.cells = cells
        self.retries = retries
        self.waiting = [cell for cell in cells if not cell.finished()]
        self.given: dict[str, Cell] = {}  # by folder, what workers have
        self.attempts: Counter[str] = Counter()
        self.errors: dict[str, str] = {}  # by folder, of the cells that are given up

    @property
    def ended(self) -> bool:
        return not self.waiting and not self.given

    def take(self, group: tuple | None, most: int) -> list[Cell]:
        """Return up to ``most`` cells of one group to run now, of the worker's last one if it can.

        Otherwise of one that no worker is at, and of these the one with the most cells. Only what
        is handed out is looked for on the disk, which may be slow and shared.
        """
        self._drop_orphans()
        sizes = Counter(cell.group for cell in self.waiting)
        occupied = {cell.group for cell in self.given.values()}
        order = sorted(sizes, key=lambda each: (each != group, each in occupied, -sizes[each]))
        for each in order:
            taken = self._ready([cell for cell in self.waiting if cell.group == each], most)
            if taken:
                self._remove(taken)
                self.given |= {cell.folder: cell for cell in taken}
                return taken
        return []

    def settle(self, cells: list[Cell], outcome: list[dict] | str) -> list[tuple[Cell, str]]:
        """Note what became of cells that were handed out; return those that ended, with errors.

        Args:
            outcome: what each came to, or how their worker died.
        """
        for cell in cells:
            del self.given[cell.folder]
        if isinstance(outcome, str):
            return self._settle_death(cells, outcome)
        ended = []
        for cell, found in zip(cells, outcome, strict=True):
            if found["state"] == DONE:
                ended.append((cell, ""))
            elif found["state"] == BUSY:
                self.waiting.append(cell)
            elif found["state"] == REFUSED:
                ended.append(self._give_up(cell, found["error"]))
            else:
                ended += self._again(cell, found["error"])
        return ended

    def _settle_death(self, cells: list[Cell], how: str) -> list[tuple[Cell, str]]:
        """Count it against the first unfinished cell; the worker had not come to the others."""
        ended = [(cell, "") for cell in cells if cell.finished()]
        left = [cell for cell in cells if not cell.finished()]
        if left:
            self.waiting += left[1:]
            ended += self._again(left[0], how)
        return ended

    def _again(self, cell: Cell, error: str) -> list[tuple[Cell, str]]:
        self.attempts[cell.folder] += 1
        if self.attempts[cell.folder] <= self.retries:
            self.waiting.append(cell)
            return []
        times = self.attempts[cell.folder]
        return [self._give_up(cell, f"{error}, attempt {times} of {times}" if times > 1 else error)]

    def _give_up(self, cell: Cell, error: str) -> tuple[Cell, str]:
        self.errors[cell.folder] = error
        return cell, error

    def _drop_orphans(self) -> None:
        """Give up what has lost its source."""
        for cell in [cell for cell in self.waiting if cell.after in self.errors]:
            self._remove([cell])
            self.errors[cell.folder] = "not run, for its source failed"

    def _ready(self, cells: list[Cell], most: int) -> list[Cell]:
        """Return the first cells that can run; drop what another driver's workers have finished."""
        found: list[Cell] = []
        for cell in cells:
            if len(found) == most:
                break
            if cell.finished():
                self._remove([cell])
            elif cell.after and not Path(cell.after, FILE).is_file():
                continue  # its source is not there yet
            elif not held(Path(cell.claims)):
                found.append(cell)
        return found

    def _remove(self, cells: list[Cell]) -> None:
        gone = {cell.folder for cell in cells}
        self.waiting = [cell for cell in self.waiting if cell.folder not in gone]
