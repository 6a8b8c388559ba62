"""The finished and unfinished runs of the protocols, and what they scored."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from softprompt.core.base.errors import UserError
from softprompt.core.engine.results import FILE, ZERO_SHOT
from softprompt.core.engine.results import read as read_results
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.report.table import shots_label

PROTOCOLS = ("base2new", "few_shot", "transfer")
LAYOUT = re.compile(
    rf"/({'|'.join(PROTOCOLS)})/([^/]+/[^/]+)/([^/]+)/shots_(\d+)/seed_(\d+)(?:/eval/([^/]+))?$"
)


class Run(NamedTuple):
    """One run: ``PROTOCOL/METHOD/CONFIG/DATASET/shots_K/seed_S``, or ``eval/TARGET`` below that."""

    protocol: str
    method: str  # METHOD/CONFIG
    dataset: str
    shots: int
    seed: int
    target: str  # the dataset it was evaluated on, if not its own
    folder: Path
    results: dict | None  # None: not finished

    @property
    def name(self) -> str:
        """A short name for remarks on this run."""
        on = f" on {self.target}" if self.target else ""
        return f"{self.dataset}{on}, {shots_label(self.shots)}, seed {self.seed}"

    def scores(self, subset: str) -> tuple[dict | None, dict | None]:
        """Return the scores of the trained prompts and of zero-shot CLIP on a class set."""
        if self.results is None:
            return None, None
        zero_shot = self.results["results"].get(ZERO_SHOT, {})
        return _trained(self.results).get(subset), zero_shot.get(subset)


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Return the runs in these folders; a run's own folder counts even if the run never began.

    Raises:
        UserError: a folder holds no run of a protocol, or a results file cannot be read.
    """
    runs: dict[Path, Run] = {}
    for given in folders:
        folder = Path(given).expanduser().absolute()
        places = [folder] if _match(folder) else sorted(_runs_below(folder))
        found = [run for place in places if (run := _read(place))]
        if not found:
            raise UserError(
                f"{folder} holds no run of a protocol, such as "
                f"{PROTOCOLS[0]}/METHOD/CONFIG/DATASET/shots_16/seed_1/{FILE}"
            )
        runs |= {run.folder: run for run in found}
    return list(runs.values())


def finished(runs: Iterable[Run]) -> list[tuple[Run, dict]]:
    """Return the runs that have finished, each with its results."""
    return [(run, run.results) for run in runs if run.results is not None]


def accuracies(folder: Path, needed: Iterable[str] = ()) -> dict[str, float] | None:
    """Return a run's accuracy in percent on each class set, None before it has finished.

    Args:
        needed: class sets that there must be.

    Raises:
        UserError: its results file cannot be read, or lacks one of these.
    """
    results = read_results(folder, {"results": dict})
    if results is None:
        return None
    found = {subset: scores["accuracy"] for subset, scores in _trained(results).items()}
    for subset in needed:
        if subset not in found:
            raise UserError(f"{folder / FILE} has no accuracy on the {subset} classes")
    return found


def summary(cell: Cell) -> str:
    """Return the accuracies of a finished cell, in words."""
    found = accuracies(Path(cell.folder)) or {}
    return ", ".join(f"{subset} {accuracy:.1f}" for subset, accuracy in found.items())


def _trained(results: dict) -> dict[str, dict]:
    """Return the scores of the one model beside zero-shot CLIP, by class set."""
    (trained,) = (scores for model, scores in results["results"].items() if model != ZERO_SHOT)
    return trained


def _match(folder: Path) -> re.Match | None:
    """Return what the path of a protocol's run consists of, or None of another path."""
    match = LAYOUT.search(folder.as_posix())
    return None if match and match[6] and match[1] != "transfer" else match


def _runs_below(folder: Path) -> set[Path]:
    """Return every folder below in which a run, of a protocol or not, has begun."""
    places = set()
    for parent, _, names in os.walk(folder):  # tolerates folders that running cells remove
        if FILE in names or "config.yaml" in names:
            places.add(Path(parent))
    return places


def _read(folder: Path) -> Run | None:
    """Return the run of a folder, or None if its path is not that of a protocol's run."""
    match = _match(folder)
    if not match:
        return None
    protocol, method, dataset, shots, seed, target = match.groups()
    results = read_results(folder)
    return Run(protocol, method, dataset, int(shots), int(seed), target or "", folder, results)
