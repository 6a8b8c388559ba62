"""What a reader of a table must know: what is missing, what differs, what was left out."""

from collections.abc import Iterable
from itertools import groupby

from softprompt.core.config.yaml_files import flat_of
from softprompt.core.protocols.runs import Run


def in_order(values: Iterable[str]) -> list[str]:
    """Return them without repetition, in the order of first appearance."""
    return list(dict.fromkeys(values))


def missing(runs: list[Run]) -> list[str]:
    """Name the runs that did not finish, and those that other rows have and one lacks."""
    unfinished = [run for run in runs if run.results is None]
    found = [f"{run.name}: no results.json in {run.folder}" for run in unfinished]
    kinds = {(run.dataset, run.target) for run in runs}
    times = {(run.shots, run.seed) for run in runs}
    there = {(run.dataset, run.target, run.shots, run.seed) for run in runs}
    for kind in sorted(kinds):
        for shots, seed in sorted(times):
            if (*kind, shots, seed) not in there:
                lacking = runs[0]._replace(
                    dataset=kind[0], target=kind[1], shots=shots, seed=seed, results=None
                )
                found.append(f"{lacking.name}: no run")
    return found


def remarks(runs: list[Run]) -> list[str]:
    """Return the lines that stand below a table of these runs."""
    finished = [run for run in runs if run.results is not None]
    found = [f"INCOMPLETE: {line}" for line in missing(runs)]
    for run in finished:
        on = run.target or run.dataset
        found += run.results["warnings"]
        if run.results["split"]["note"]:
            found.append(f"{on}: {run.results['split']['note']}")
        samples = [f"{sample} ({subset})" for subset, sample in run.results["sampled"].items()]
        if samples:
            found.append(f"{on}: tested on {', '.join(samples)}")
    return in_order([*found, *_changed(finished)])


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
