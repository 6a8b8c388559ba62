"""The runs of a protocol: found by their folders, their numbers from ``results.json`` alone."""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from softprompt.core.base.errors import UserError
from softprompt.core.engine.results import FILE, ZERO_SHOT
from softprompt.core.protocols.report.labels import shots_label

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
    target: str  # the dataset that it was evaluated on, if another one
    folder: Path
    results: dict | None  # None: not finished

    @property
    def name(self) -> str:
        """What a line about this run calls it."""
        on = f" on {self.target}" if self.target else ""
        return f"{self.dataset}{on}, {shots_label(self.shots)}, seed {self.seed}"

    def scores(self, subset: str) -> tuple[dict | None, dict | None]:
        """Return what the trained prompts and what zero-shot CLIP scored on a class set."""
        if self.results is None:
            return None, None
        found = dict(self.results["results"])
        zero_shot = found.pop(ZERO_SHOT, {})
        (trained,) = found.values()
        return trained.get(subset), zero_shot.get(subset)


def find_runs(folders: list[str]) -> list[Run]:
    """Return the runs in these folders; one that is given itself counts even if it never began.

    Raises:
        UserError: a folder holds no run of a protocol, or a results file cannot be read.
    """
    found: dict[Path, Run] = {}
    for given in folders:
        folder = Path(given).expanduser().absolute()
        places = [folder] if _place(folder) else sorted(_runs_below(folder))
        if not places:
            raise UserError(
                f"{folder} holds no run of a protocol, such as "
                f"{PROTOCOLS[0]}/METHOD/CONFIG/DATASET/shots_16/seed_1/{FILE}"
            )
        found |= {place: _read(place) for place in places}
    return list(found.values())


def _place(folder: Path) -> tuple | None:
    """Return what a run's folder says of it, or None if it is not one of a protocol."""
    match = LAYOUT.search(folder.as_posix())
    if not match or (match[6] and match[1] != "transfer"):
        return None
    protocol, method, dataset, shots, seed, target = match.groups()
    return protocol, method, dataset, int(shots), int(seed), target or ""


def _runs_below(folder: Path) -> set[Path]:
    """Every folder below that a run was written in, finished or not."""
    places = set()
    for parent, _, names in os.walk(folder):  # which may go on while a run's folders come and go
        if FILE in names or "config.yaml" in names:
            places.add(Path(parent))
    return set(filter(_place, places))


def _read(folder: Path) -> Run:
    results = None
    if (folder / FILE).is_file():
        try:
            results = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{folder / FILE} is no results file: {error}") from None
    return Run(*_place(folder), folder, results)
