"""The table of ``tools/matrix.py``, made from the folders of its runs alone."""

import json
from pathlib import Path
from typing import NamedTuple

import yaml

CAPTION = (
    "Accuracy on base / new classes and their harmonic mean H in percent on `{dataset}`, "
    "{shots}, backbone {backbone}; {seeds}. "
    "{epochs} epochs in batches of {batch}, {optimizer} at {rate:g}: one budget for all pairs, "
    "tuned for none. Each learner's and each trainer's own options are those of "
    "`configs/<name>/tiny.yaml` (`configs/<name>/<learner>_tiny.yaml` where there are such), or "
    "else its defaults."
)
MISSING = "–"


class Cell(NamedTuple):
    """One run of the matrix, or the evaluation of a learner that trains nothing."""

    learner: str
    trainer: str  # "": evaluated only
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.learner} under {self.trainer}" if self.trainer else self.learner

    def scores(self) -> tuple[float, float] | None:
        """Accuracy on base and new classes, None before the run has finished."""
        file = self.folder / "results.json"
        if not file.is_file():
            return None
        by_set = json.loads(file.read_text())["results"][self.name]
        return by_set["base"]["accuracy"], by_set["new"]["accuracy"]


def markdown(cells: list[Cell]) -> str:
    """Return caption and table of the cells, of which some may not have run yet.

    Raises:
        UserError: none has, or finished ones differ in settings that they should share.
    """
    from tabulate import tabulate

    from softprompt.core.base.errors import UserError

    found = {cell: scores for cell in cells if (scores := cell.scores())}
    if not found:
        raise UserError(f"none of the {len(cells)} runs has finished yet")
    trainers = list(dict.fromkeys(cell.trainer for cell in cells if cell.trainer))
    rows = []
    for learner in dict.fromkeys(cell.learner for cell in cells):
        own = [cell for cell in cells if cell.learner == learner]
        if not own[0].trainer:
            rows.append([f"`{learner}` (not trained)", *[mean(own, found)] * len(trainers)])
            continue
        pairs = [[cell for cell in own if cell.trainer == trainer] for trainer in trainers]
        rows.append([f"`{learner}`", *(mean(pair, found) for pair in pairs)])
    heads = ["prompt learner", *(f"`{trainer}`" for trainer in trainers)]
    table = tabulate(rows, heads, "github", disable_numparse=True)
    return "\n\n".join([caption(cells, found), table, *notes(list(found))]) + "\n"


def mean(pair: list[Cell], found: dict[Cell, tuple[float, float]]) -> str:
    """Return ``base / new / H`` of one pair's seeds, and which seeds if not all are there."""
    from softprompt.core.engine.results import harmonic_mean

    there = [cell for cell in pair if cell in found]
    if not there:
        return MISSING
    base, new = (sum(found[cell][part] for cell in there) / len(there) for part in (0, 1))
    text = f"{base:.1f} / {new:.1f} / {harmonic_mean(base, new):.1f}"
    return text if len(there) == len(pair) else f"{text} ({_seeds(there)} only)"


def caption(cells: list[Cell], found: dict[Cell, tuple[float, float]]) -> str:
    """Return what the numbers are, and what is missing or doubtful about them."""
    shared = shared_settings(list(found))
    optim, data = shared["OPTIM"], shared["DATASET"]
    seeds = _seeds([cell for cell in cells if cell.trainer])
    lines = [
        CAPTION.format(
            dataset=data["NAME"],
            shots="all pictures" if data["NUM_SHOTS"] < 0 else f"{data['NUM_SHOTS']} shots",
            backbone=shared["MODEL"]["BACKBONE"]["NAME"],
            seeds=f"means of {seeds}, H of the two means" if "," in seeds else f"{seeds} alone",
            epochs=optim["MAX_EPOCH"],
            batch=shared["DATALOADER"]["TRAIN_X"]["BATCH_SIZE"],
            optimizer=optim["NAME"],
            rate=optim["LR"],
        )
    ]
    if len(found) < len(cells):
        lines.append(
            f"**Incomplete: {len(cells) - len(found)} of {len(cells)} runs are missing** "
            f"({MISSING}: no seed yet)."
        )
    if shared["TEST"]["MAX_IMAGES"]:
        lines.append(f"**Tested on {shared['TEST']['MAX_IMAGES']} pictures of each class set.**")
    results = [json.loads((cell.folder / "results.json").read_text()) for cell in found]
    lines += dict.fromkeys(f"**{warning}.**" for one in results for warning in one["warnings"])
    commits = {one["environment"]["commit"] for one in results}
    if len(commits) > 1:
        lines.append(f"The runs are of {len(commits)} versions of the code.")
    return "\n".join(lines)


def notes(cells: list[Cell]) -> list[str]:
    """Return what trainers noted of their pairs, such as a start that only some of them have."""
    noted = {}
    for cell in cells:
        results = json.loads((cell.folder / "results.json").read_text())
        note = results.get("train", {}).get("note")
        if note:
            noted[f"* `{cell.learner}` under `{cell.trainer}`: {note}"] = None
    return ["\n".join(noted)] if noted else []


def shared_settings(cells: list[Cell]) -> dict:
    """Return the settings that all cells share.

    Raises:
        UserError: they do not: in the budget, in a learner's options or in a pair's.
    """
    from softprompt.core.base.errors import UserError

    seen: dict[tuple[str, str], tuple[Cell, dict]] = {}
    for cell in cells:
        tree = yaml.safe_load((cell.folder / "config.yaml").read_text())
        for key in ("SEED", "OUTPUT_DIR", "PLUGINS"):
            del tree[key]
        del tree["DATASET"]["ROOT"]
        groups = {
            ("learner", cell.learner): tree.pop("PROMPT"),
            ("pair", cell.name): tree.pop("TRAINER"),
            ("all", ""): tree,
        }
        for group, settings in groups.items():
            first, expected = seen.setdefault(group, (cell, settings))
            different = _difference(expected, settings)
            if different:
                raise UserError(
                    f"{first.folder} and {cell.folder} were run with different settings "
                    f"({different}); a matrix needs one budget, so give another --output-dir"
                )
    return seen["all", ""][1]


def _difference(one: dict, other: dict, prefix: str = "") -> str:
    """Return what the first key that differs is in both, or "" where none does."""
    for key in one.keys() | other.keys():
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            deeper = _difference(a, b, f"{prefix}{key}.")
            if deeper:
                return deeper
        elif a != b:
            return f"{prefix}{key} {a!r} and {b!r}"
    return ""


def _seeds(cells: list[Cell]) -> str:
    seeds = [str(seed) for seed in dict.fromkeys(cell.seed for cell in cells)]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
