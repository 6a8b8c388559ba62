"""What cells will cost, from the seconds that finished ones of the same method have taken."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from tabulate import tabulate

from softprompt.core.engine.results import FILE
from softprompt.core.protocols.cells import Cell


class Cost(NamedTuple):
    """The seconds that a cell will take."""

    seconds: float
    elsewhere: bool  # known only from other datasets

    def __str__(self) -> str:
        return f"{'~' * self.elsewhere}{self.seconds:.1f}"


def estimates(cells: list[Cell]) -> dict[str, Cost]:
    """Return what each cell will cost by its folder, without those not known.

    It is the mean of the finished cells of the same method that are most like it: of its dataset
    and shots, or else its dataset, or else its shots on other datasets, or else any.
    """
    same: dict[tuple, list[float]] = defaultdict(list)
    for cell in cells:
        if cell.finished():
            found = json.loads(Path(cell.folder, FILE).read_text(encoding="utf-8"))
            for kind in _kinds(cell):
                same[kind].append(sum(found["seconds"].values()))
    known = {}
    for cell in cells:
        kind = next((kind for kind in _kinds(cell) if kind in same), None)
        if kind is not None:
            known[cell.folder] = Cost(fmean(same[kind]), cell.dataset_file not in kind)
    return known


def _kinds(cell: Cell) -> list[tuple]:
    """Return what cells have in common that cost about the same, the closest first."""
    method = (cell.config_file, cell.pairs, cell.evaluate)
    shots = cell.flags.get("DATASET.NUM_SHOTS")
    likeness = [(cell.dataset_file, shots), (cell.dataset_file,), (shots,), ()]
    return [(*method, *like) for like in likeness]


def listing(cells: list[Cell]) -> str:
    """Return the table of the cells with what is there and what each will cost, and the sum."""
    known = estimates(cells)
    rows, costs, to_run = [], [], 0
    for cell in cells:
        if cell.finished():
            rows.append([cell.name, "finished", ""])
            continue
        to_run += 1
        rows.append([cell.name, "to run", known.get(cell.folder, "unknown")])
        costs += [known[cell.folder]] if cell.folder in known else []
    # Numbers come as text: of a column with a word in it, tabulate would format none.
    table = tabulate(
        rows,
        ["cell", "state", "seconds"],
        disable_numparse=True,
        colalign=("left", "left", "right"),
    )
    line = f"{len(cells)} cells, {len(cells) - to_run} finished, {to_run} to run"
    unknown = to_run - len(costs)
    if costs:
        minutes = sum(cost.seconds for cost in costs) / 60
        line += f": {'at least ' * (unknown > 0)}{minutes:.1f} minutes of one worker"
    if unknown:
        line += f"; {unknown} of unknown cost, as no cell of that method has finished"
    if any(cost.elsewhere for cost in costs):
        line += "\n~ is estimated from finished cells of the method on other datasets"
    return f"{table}\n\n{line}"
