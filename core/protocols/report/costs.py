"""The cost of the runs of each method: seconds, memory, trained parameters."""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean

from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.table import Row, Table
from softprompt.core.protocols.runs import Run, finished

FORMATS = {
    "runs": "d",
    "train s a run": ",.1f",
    "train s in all": ",.0f",
    "test s a run": ",.1f",
    "peak memory MB": ",.0f",
    "trained parameters": ",d",
}


def costs(runs: Sequence[Run]) -> list[Table]:
    """Return one table with a row for each protocol, method and source, or none if nothing ran."""

    def key(pair: tuple[Run, dict]) -> tuple[str, str, str]:
        run = pair[0]
        return run.protocol, run.method, run.dataset if run.protocol == "transfer" else ""

    trained = [
        (run, results)
        for run, results in finished(runs)
        if not run.target and "train" in results.get("seconds", {})  # else it was only evaluated
    ]
    rows = []
    for (protocol, method, source), group in groupby(sorted(trained, key=key), key):
        results = [each for _, each in group]
        name = f"{protocol}{f' from {source}' * bool(source)}"
        rows.append(Row(name, {"method": method, "runs": len(results), **_cost(results)}))
    if not rows:
        return []
    columns = ("method", *FORMATS)
    remarks = _remarks([results for _, results in trained])
    return [Table("cost", "training cost", "runs of", columns, rows, remarks, formats=FORMATS)]


def _cost(results: list[dict]) -> dict:
    train = [each["seconds"]["train"] for each in results]
    test = [each["seconds"]["evaluate"] for each in results]
    parameters = in_order(each.get("trained_parameters") for each in results)
    return {
        "train s a run": fmean(train),
        "train s in all": sum(train),
        "test s a run": fmean(test),
        "peak memory MB": _peak(results),
        # Class-specific prompts have another number on each dataset.
        "trained parameters": parameters[0] if len(parameters) == 1 else None,
    }


def _peak(results: list[dict]) -> float | None:
    """Return the highest peak in megabytes: the GPU's, or without one the process's."""
    peaks = [each.get("peak_memory") or {} for each in results]
    on_gpu = any(peak.get("gpu") for peak in peaks)
    values = [peak.get("gpu" if on_gpu else "process") for peak in peaks]
    known = [value for value in values if value is not None]
    return max(known) / 1e6 if len(known) == len(values) else None


def _remarks(results: list[dict]) -> list[str]:
    devices = in_order(each.get("environment", {}).get("device", "?") for each in results)
    gpu = any((each.get("peak_memory") or {}).get("gpu") for each in results)
    return [
        f"measured on {', '.join(devices)}",
        "peak memory is the highest of all runs: "
        + ("what the GPU held" if gpu else "of the whole process, with all that it ran before"),
    ]
