"""From a protocol's runs to its table: means over seeds, averages, and what is missing.

A mean is over the seeds that are there, an average over the rows; wherever one of them lacks a run
that the others have, the table says so.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from statistics import fmean

from tabulate import tabulate

from softprompt.core.results import harmonic_mean
from softprompt.core.runs import Run
from softprompt.core.yaml_files import flat_of

HALVES = ("base", "new")


def summary(runs: list[Run]) -> str:
    """Return the tables of all protocols, methods and sources among these runs."""

    def key(run: Run) -> tuple:
        source = run.dataset if run.protocol == "transfer" else ""
        shots = 0 if run.protocol == "few_shot" else run.shots
        return run.protocol, run.method, source, shots

    blocks = []
    for (protocol, method, source, shots), group in groupby(sorted(runs, key=key), key):
        members = list(group)
        rows = {"base2new": _base2new, "few_shot": _few_shot, "transfer": _transfer}[protocol]
        seeds = " ".join(str(seed) for seed in sorted({run.seed for run in members}))
        title = f"{_TITLES[protocol]}{source}: {method}"
        title += f", {shots} shots" * bool(shots) + f", mean over the seeds {seeds}"
        table = tabulate(rows(members), headers="keys", floatfmt=".1f", missingval="-")
        blocks.append("\n".join([title, "", table, *_remarks(members)]))
    return "\n\n".join(blocks)


_TITLES = {
    "base2new": "base to new classes",
    "few_shot": "few shots",
    "transfer": "transfer from ",
}


def _base2new(runs: list[Run]) -> list[dict]:
    rows = []
    for dataset in _in_order(run.dataset for run in runs):
        of_it = [run for run in runs if run.dataset == dataset]
        row: dict = {"dataset": dataset}
        for prefix, model in (("", 0), ("CLIP ", 1)):
            plain = [_mean(of_it, model, half) for half in HALVES]
            row |= _with_h(prefix, plain)
            apart = [
                _mean(of_it, model, "generalized", lambda found, half=half: found[half])
                for half in HALVES
            ]
            if apart != [None, None]:
                row |= _with_h(f"{prefix}generalized ", apart)
        rows.append(row)
    return [*rows, *_average(rows, runs)]


def _few_shot(runs: list[Run]) -> list[dict]:
    rows = []
    for dataset in _in_order(run.dataset for run in runs):
        of_it = [run for run in runs if run.dataset == dataset]
        row: dict = {"dataset": dataset, "CLIP": _mean(of_it, 1, "all")}
        for shots in sorted({run.shots for run in runs}):
            row[f"{shots} shots"] = _mean([r for r in of_it if r.shots == shots], 0, "all")
        rows.append(row)
    return [*rows, *_average(rows, runs)]


def _transfer(runs: list[Run]) -> list[dict]:
    def row(target: str, name: str) -> dict:
        of_it = [run for run in runs if run.target == target]
        return {
            "dataset": name,
            "accuracy": _mean(of_it, 0, "all"),
            "CLIP": _mean(of_it, 1, "all"),
        }

    targets = [row(target, target) for target in _in_order(run.target for run in runs) if target]
    source = row("", f"{runs[0].dataset} (source)")
    return [source, *targets, *_average(targets, runs, "average of targets")]


def _mean(
    runs: Iterable[Run], model: int, subset: str, part: Callable[[dict], dict] = lambda found: found
) -> float | None:
    """Return the mean accuracy over runs of the trained (0) or the zero-shot (1) model."""
    scores = [run.scores(subset)[model] for run in runs]
    values = [part(found)["accuracy"] for found in scores if found is not None]
    return fmean(values) if values and None not in values else None


def _with_h(prefix: str, base_and_new: Sequence[float | None]) -> dict:
    values = dict(zip(HALVES, base_and_new, strict=True))
    values["H"] = None if None in base_and_new else harmonic_mean(*base_and_new)
    return {f"{prefix}{name}": value for name, value in values.items()}


def _average(rows: list[dict], runs: list[Run], name: str = "average") -> list[dict]:
    """Return the row of averages; H is that of the averages, as the field publishes it."""
    if len(rows) < 2:
        return []
    found: dict = {"dataset": name if not _missing(runs) else f"{name} (INCOMPLETE)"}
    for column in [column for column in rows[0] if column != "dataset"]:
        values = [row.get(column) for row in rows]
        there = [value for value in values if value is not None]
        found[column] = fmean(there) if there else None
        prefix, is_h, _ = column.rpartition("H")
        halves = [found.get(f"{prefix}{half}") for half in HALVES]
        if is_h and None not in halves:
            found[column] = harmonic_mean(*halves)
    return [found]


def _missing(runs: list[Run]) -> list[str]:
    """Name the runs that did not finish, and those that other rows have and one lacks."""
    unfinished = [run for run in runs if run.results is None]
    missing = [f"{run.name}: no results.json in {run.folder}" for run in unfinished]
    kinds = {(run.dataset, run.target) for run in runs}
    times = {(run.shots, run.seed) for run in runs}
    there = {(run.dataset, run.target, run.shots, run.seed) for run in runs}
    for kind in sorted(kinds):
        for shots, seed in sorted(times):
            if (*kind, shots, seed) not in there:
                lacking = runs[0]._replace(
                    dataset=kind[0], target=kind[1], shots=shots, seed=seed, results=None
                )
                missing.append(f"{lacking.name}: no run")
    return missing


def _remarks(runs: list[Run]) -> list[str]:
    """What a reader of the numbers must know."""
    finished = [run for run in runs if run.results is not None]
    found = [f"INCOMPLETE: {line}" for line in _missing(runs)]
    for run in finished:
        on = run.target or run.dataset
        found += run.results["warnings"]
        if run.results["split"]["note"]:
            found.append(f"{on}: {run.results['split']['note']}")
        samples = [f"{sample} ({subset})" for subset, sample in run.results["sampled"].items()]
        if samples:
            found.append(f"{on}: tested on {', '.join(samples)}")
    return ["", *_in_order([*found, *_changed(finished)])] if found or _changed(finished) else []


def _changed(runs: list[Run]) -> list[str]:
    """Name the settings in which runs differ that are averaged as if they had the same."""
    found = []

    def key(run: Run) -> tuple:
        return run.dataset, run.target, run.shots

    for _, group in groupby(sorted(runs, key=key), key):
        first, *others = group
        before = flat_of(first.results["config"])
        for run in others:
            after = flat_of(run.results["config"])
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name) and not name.endswith("SEED"):
                    found.append(
                        f"NOT COMPARABLE: {name} is {before.get(name)!r} for {first.name} and "
                        f"{after.get(name)!r} for {run.name}"
                    )
    return found


def _in_order(values: Iterable[str]) -> list[str]:
    """Return them without repetition, in the order of first appearance."""
    return list(dict.fromkeys(values))
