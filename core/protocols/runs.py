"""The finished and unfinished runs of a folder, and what they scored."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from softprompt.core.base.errors import UserError
from softprompt.core.engine.results import FILE, ZERO_SHOT
from softprompt.core.protocols.cells import Cell
from softprompt.core.protocols.report.table import shots_label
from softprompt.core.protocols.stored import is_meta_training, read_run, trained_name

PROTOCOLS = ("base2new", "few_shot", "transfer")
SINGLE = ""  # the protocol of a run that belongs to none
LAYOUT = re.compile(
    rf"/({'|'.join(PROTOCOLS)})/([^/]+/[^/]+)/([^/]+)/shots_(\d+)/seed_(\d+)(?:/eval/([^/]+))?$"
)
BEGUN = ("log.txt", "metrics.jsonl", "checkpoints")  # beside config.yaml: a run, not any YAML


class Run(NamedTuple):
    """One run: ``PROTOCOL/METHOD/CONFIG/DATASET/shots_K/seed_S``, or ``eval/TARGET`` below that.

    A run in any other folder is a single one, of no protocol and, until it has finished, of an
    unknown method and dataset.
    """

    protocol: str
    method: str  # METHOD/CONFIG; of a single run "LEARNER under TRAINER"
    dataset: str
    shots: int
    seed: int
    target: str  # the dataset it was evaluated on, if not its own
    folder: Path
    results: dict | None  # None: not finished, or damaged
    damage: str = ""  # why its results are left out

    @property
    def name(self) -> str:
        """A short name for remarks on this run."""
        if self.protocol == SINGLE:
            return self.folder.name
        on = f" on {self.target}" if self.target else ""
        return f"{self.dataset}{on}, {shots_label(self.shots)}, seed {self.seed}"

    @property
    def absence(self) -> str:
        """Why this run has no results."""
        return f"left out, {self.damage}" if self.damage else f"no {FILE} in {self.folder}"

    def scores(self, subset: str) -> tuple[dict | None, dict | None]:
        """Return the scores of the trained prompts and of zero-shot CLIP on a class set."""
        if self.results is None:
            return None, None
        zero_shot = self.results["results"].get(ZERO_SHOT, {})
        return _trained(self.results).get(subset), zero_shot.get(subset)


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Return the runs in these folders; a run's own folder counts even if the run never began.

    Raises:
        UserError: a folder holds no run.
    """
    runs: dict[Path, Run] = {}
    for given in folders:
        folder = Path(given).expanduser().absolute()
        places = [folder] if _match(folder) else sorted(_runs_below(folder))
        found = [run for place in places if (run := _read(place))]
        if not found:
            raise UserError(f"{folder} holds no run: no folder below has a {FILE}")
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
        UserError: its results file is damaged, or lacks one of these.
    """
    results = read_run(folder)
    if results is None:
        return None
    found = {subset: scores["accuracy"] for subset, scores in _trained(results).items()}
    for subset in needed:
        if subset not in found:
            raise UserError(f"{folder / FILE} has no accuracy on the {subset} classes")
    return found


def summary(cell: Cell) -> str:
    """Return the accuracies of a finished cell, in words; "" if its results are damaged."""
    try:
        found = accuracies(Path(cell.folder)) or {}
    except UserError:
        return ""
    return ", ".join(f"{subset} {accuracy:.1f}" for subset, accuracy in found.items())


def _trained(results: dict) -> dict[str, dict]:
    """Return the scores of the one model beside zero-shot CLIP, by class set."""
    return results["results"][trained_name(results)]


def _match(folder: Path) -> re.Match | None:
    """Return what the path of a protocol's run consists of, or None of another path."""
    match = LAYOUT.search(folder.as_posix())
    return None if match and match[6] and match[1] != "transfer" else match


def _runs_below(folder: Path) -> set[Path]:
    """Return every folder below in which a run, of a protocol or not, has begun."""
    places = set()
    for parent, folders, names in os.walk(folder):  # tolerates what running cells remove
        begun = "config.yaml" in names and {*BEGUN} & {*names, *folders}
        if FILE in names or begun or ("config.yaml" in names and _match(Path(parent))):
            places.add(Path(parent))
    return places


def _read(folder: Path) -> Run | None:
    """Return the run of a folder, None for that of a meta-training."""
    results, damage, match = None, "", _match(folder)
    if match is None and is_meta_training(folder):
        return None
    try:
        results = read_run(folder)
    except UserError as error:
        damage = str(error)
    if match:
        protocol, method, dataset, shots, seed, target = match.groups()
        place = protocol, method, dataset, int(shots), int(seed), target or ""
    else:
        found = results or {"dataset": "", "shots": None, "seed": None}
        method = trained_name(found) if results else ""
        place = SINGLE, method, found["dataset"], found["shots"] or 0, found["seed"] or 0, ""
    return Run(*place, folder, results, damage)
