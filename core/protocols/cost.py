"""The cost of cells, estimated from the seconds that finished ones of the same method took."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from tabulate import tabulate

from softprompt.core.engine.results import read as read_results
from softprompt.core.protocols.cells import Cell


class Cost(NamedTuple):
    """The seconds that a cell will take."""

    seconds: float
    other_datasets: bool  # estimated from other datasets only

    def __str__(self) -> str:
        return f"{'~' * self.other_datasets}{self.seconds:.1f}"


def estimates(cells: Sequence[Cell]) -> dict[str, Cost]:
    """Return the cost of each cell by its folder; cells without an estimate are left out.

    It is the mean of the finished cells of the same method that are most alike: of its dataset
    and shots, or else its dataset, or else its shots on other datasets, or else any.
    """
    measured: dict[tuple, list[float]] = defaultdict(list)
    for cell in cells:
        results = read_results(Path(cell.folder), {"seconds": dict})
        if results is not None:
            for kind in _kinds(cell):
                measured[kind].append(sum(results["seconds"].values()))
    costs = {}
    for cell in cells:
        kind = next((kind for kind in _kinds(cell) if kind in measured), None)
        if kind is not None:
            costs[cell.folder] = Cost(fmean(measured[kind]), cell.dataset_file not in kind)
    return costs


def _kinds(cell: Cell) -> list[tuple]:
    """Return what cells of about the same cost have in common, the closest first."""
    method = (cell.config_file, cell.pairs, cell.runner)
    shots = cell.flags.get("DATASET.NUM_SHOTS")
    likeness = [(cell.dataset_file, shots), (cell.dataset_file,), (shots,), ()]
    return [(*method, *like) for like in likeness]


def listing(cells: Sequence[Cell]) -> str:
    """Return the table of the cells with their state and cost, and the sum."""
    known = estimates(cells)
    rows, costs, to_run = [], [], 0
    for cell in cells:
        if cell.finished():
            rows.append([cell.name, "finished", ""])
            continue
        to_run += 1
        rows.append([cell.name, "to run", known.get(cell.folder, "unknown")])
        costs += [known[cell.folder]] if cell.folder in known else []
    # Numbers are text already: tabulate formats none in a column that also holds words.
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
    if any(cost.other_datasets for cost in costs):
        line += "\n~ is estimated from finished cells of the method on other datasets"
    return f"{table}\n\n{line}"
