"""What cells will cost, from the seconds that finished ones of the same kind have taken."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from softprompt.core.results import FILE
from softprompt.core.sweep.cells import Cell


def estimates(cells: list[Cell]) -> dict[str, float]:
    """Return the seconds that each cell will take by its folder, without those not known.

    They are the mean of the finished cells of the same method, dataset and shots, or else of the
    same method and dataset.
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
            known[cell.folder] = fmean(same[kind])
    return known


def _kinds(cell: Cell) -> tuple[tuple, tuple]:
    """Return what cells have in common that cost nearly the same, and about the same."""
    method = (cell.config_file, cell.pairs, cell.dataset_file, cell.evaluate)
    return (*method, cell.flags.get("DATASET.NUM_SHOTS")), method


def listing(cells: list[Cell]) -> str:
    """Return the table of the cells with what is there and what each will cost, and the sum."""
    seconds = estimates(cells)
    rows, total, unknown = [], 0.0, 0
    for cell in cells:
        cost = seconds.get(cell.folder)
        if cell.finished():
            rows.append([cell.name, "finished", None])
            continue
        rows.append([cell.name, "to run", cost if cost is not None else "unknown"])
        total += cost or 0.0
        unknown += cost is None
    table = tabulate(rows, ["cell", "state", "seconds"], floatfmt=".1f", missingval="")
    missing = sum(row[1] == "to run" for row in rows)
    line = f"{len(cells)} cells, {len(cells) - missing} finished, {missing} to run"
    if missing > unknown:
        line += f": {total / 60:.1f} minutes of one worker"
    if unknown:
        line += f"; {unknown} of unknown cost, as no cell of that method and dataset has finished"
    return f"{table}\n\n{line}"
