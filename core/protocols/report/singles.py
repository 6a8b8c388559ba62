"""The runs that belong to no protocol, such as those of ``tools/train.py``: a row each."""

import os
from collections.abc import Sequence

from softprompt.core.engine.results import ZERO_SHOT, harmonic_mean
from softprompt.core.protocols.report.remarks import CAUTION, in_order
from softprompt.core.protocols.report.table import CLIP, Cell, Row, Table
from softprompt.core.protocols.runs import SINGLE, Run, finished

ABOUT = ("model", "dataset", "shots", "seed")


def singles(runs: Sequence[Run]) -> list[Table]:
    """Return one table with a row for each such run, or none if there is none."""
    runs = [run for run in runs if run.protocol == SINGLE]
    if not runs:
        return []
    top = os.path.commonpath([run.folder.parent for run in runs])
    names = {run.folder: run.folder.relative_to(top).as_posix() for run in runs}
    rows, remarks = [], []
    for run in runs:
        if run.results is None:
            remarks.append(f"INCOMPLETE: {names[run.folder]}: {run.absence}")
    for run, results in finished(runs):
        name = names[run.folder]
        rows.append(Row(name, _cells(run, results)))
        note = results["split"]["note"]
        remarks += [f"{name}: {note}"] if note else []
        samples = (f"{sample} ({subset})" for subset, sample in results["sampled"].items())
        remarks += [f"{name}: tested on {sample}" for sample in samples]
        remarks += [f"{CAUTION}{name}: {warning}" for warning in results["warnings"]]
    columns = in_order(column for row in rows for column in row.cells)
    # Zero-shot CLIP stands beside what was trained, however the first run was tested.
    columns.sort(key=lambda column: (column not in ABOUT, column.startswith(CLIP)))
    return [Table("single", f"single runs in {top}", "run", tuple(columns), rows, remarks)]


def _cells(run: Run, results: dict) -> dict[str, Cell]:
    """Return what a run is, and its scores."""
    shots = results["shots"]
    cells: dict[str, Cell] = {
        "model": run.method,
        "dataset": run.dataset,
        "shots": "all" if shots is not None and shots < 1 else _text(shots),
        "seed": _text(results["seed"]),
    }
    for prefix, model in (("", run.method), (f"{CLIP} ", ZERO_SHOT)):
        by_set = results["results"].get(model, {})
        found = {name: it["accuracy"] for name, it in by_set.items() if "base" not in it}
        for name, it in by_set.items():
            if "base" in it and "new" in it:
                found |= {f"{name} {half}": it[half]["accuracy"] for half in ("base", "new")}
        for name in list(found):
            base, new = found.get(name), found.get(name.removesuffix("base") + "new")
            if name.endswith("base") and base is not None and new is not None:
                found[name.removesuffix("base") + "H"] = harmonic_mean(base, new)
        cells |= {f"{prefix}{name}": value for name, value in found.items()}
    return cells


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
