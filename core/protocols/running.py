"""How far a run has come, read off the files that it writes meanwhile; and short names of cells."""

import json
from collections.abc import Sequence
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.config.yaml_files import flat_of, read_yaml
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.report.names import method_labels

TAIL = 8192  # bytes, more than a line of metrics.jsonl has


def progress_of(folder: Path) -> str:
    """Return such as "epoch 12/50", "" if the run does not say."""
    found = _last_line(folder / "metrics.jsonl")
    if isinstance(found.get("epoch"), int):
        total = _epochs(folder)
        return f"epoch {found['epoch'] + 1}" + f"/{total}" * bool(total)
    return f"step {found['step'] + 1}" if isinstance(found.get("step"), int) else ""


def short_names(cells: Sequence[Cell]) -> tuple[dict[str, str], list[str]]:
    """Return a short name for each method and each cell's folder, and what all names leave out."""
    labels, omitted = method_labels(cell.method for cell in cells)
    if not any("/" in method for method in labels):  # of the matrix and of controls
        labels, omitted = {method: method for method in labels}, []
    names = [cell.name.replace(cell.method, labels[cell.method], 1).split("/") for cell in cells]
    shortest = min(map(len, names), default=0)
    common = [i for i in range(shortest) if len({name[i] for name in names}) == 1]
    if len(names) < 2 or len(common) == shortest:
        common = []
    for cell, name in zip(cells, names, strict=True):
        kept = [part for i, part in enumerate(name) if i not in common]
        labels[cell.folder] = "/".join(kept)
    lines = [f"All cells: {'/'.join(names[0][i] for i in common)}"] if common else []
    return labels, lines + omitted


def _last_line(file: Path) -> dict:
    """Return the last whole line of a file of JSON lines; {} if there is none."""
    try:
        with open(file, "rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - TAIL))
            *lines, _ = opened.read().split(b"\n")  # the last one may be in the making
        found = json.loads(lines[-1]) if lines else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _epochs(folder: Path) -> int | None:
    try:
        found = flat_of(read_yaml(folder / "config.yaml")).get("OPTIM.MAX_EPOCH")
    except (UserError, OSError):
        return None
    return found if isinstance(found, int) else None
