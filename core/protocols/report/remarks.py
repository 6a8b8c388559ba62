"""The remarks below a table: what is missing, what differs, what was left out."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TypeVar

from softprompt.core.config.yaml_files import flat_of
from softprompt.core.protocols.runs import Run, finished

Value = TypeVar("Value")
CAUTION = "CAUTION: "
ABOUT_RUNS = ("INCOMPLETE", "NOT COMPARABLE", CAUTION)  # how remarks begin that nobody should miss


def in_order(values: Iterable[Value]) -> list[Value]:
    """Return the values without repetition, in the order of first appearance."""
    return list(dict.fromkeys(values))


def missing(runs: Sequence[Run]) -> list[str]:
    """Return a line for each run that did not finish, or that other rows have and one lacks."""
    unfinished = [run for run in runs if run.results is None]
    lines = [f"{run.name}: {run.absence}" for run in unfinished]
    rows = {(run.dataset, run.target) for run in runs}
    repetitions = {(run.shots, run.seed) for run in runs}
    begun = {(run.dataset, run.target, run.shots, run.seed) for run in runs}
    for dataset, target in sorted(rows):
        for shots, seed in sorted(repetitions):
            if (dataset, target, shots, seed) not in begun:
                lacking = runs[0]._replace(
                    dataset=dataset, target=target, shots=shots, seed=seed, results=None
                )
                lines.append(f"{lacking.name}: no run")
    return lines


def remarks(runs: Sequence[Run]) -> list[str]:
    """Return the lines below a table of these runs."""
    lines = [f"INCOMPLETE: {line}" for line in missing(runs)]
    for run, results in finished(runs):
        on = run.target or run.dataset
        if results["split"]["note"]:
            lines.append(f"{on}: {results['split']['note']}")
        samples = [f"{sample} ({subset})" for subset, sample in results["sampled"].items()]
        if samples:
            lines.append(f"{on}: tested on {', '.join(samples)}")
    return in_order([*lines, *_differences(runs), *cautions(runs)])


def cautions(runs: Sequence[Run]) -> list[str]:
    """Return a line for each warning of these runs, with the runs that it is not common to."""
    warned: dict[str, list[Run]] = {}
    done = finished(runs)
    for run, results in done:
        for warning in in_order(results["warnings"]):
            warned.setdefault(warning, []).append(run)
    lines = []
    for warning, of_runs in warned.items():
        more = f" and {len(of_runs) - 1} more" if len(of_runs) > 1 else ""
        where = f" ({of_runs[0].name}{more})" if len(of_runs) < len(done) else ""
        lines.append(f"{CAUTION}{warning}{where}")
    return lines


def _differences(runs: Sequence[Run]) -> list[str]:
    """Return a line for each setting that differs between runs of one average."""

    def key(pair: tuple[Run, dict]) -> tuple[str, str, int]:
        return pair[0].dataset, pair[0].target, pair[0].shots

    lines = []
    for _, group in groupby(sorted(finished(runs), key=key), key):
        (first, expected), *others = group
        before = flat_of(expected["config"])
        for run, results in others:
            after = flat_of(results["config"])
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name) and not name.endswith("SEED"):
                    lines.append(
                        f"NOT COMPARABLE: {name} is {before.get(name)!r} for {first.name} and "
                        f"{after.get(name)!r} for {run.name}"
                    )
    return lines
