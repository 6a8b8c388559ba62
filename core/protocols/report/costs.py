"""What the runs of each method took: seconds, memory, trained parameters."""

from itertools import groupby
from statistics import fmean

from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.table import Row, Table
from softprompt.core.protocols.runs import Run

FORMATS = {
    "runs": "d",
    "train s a run": ",.1f",
    "train s in all": ",.0f",
    "test s a run": ",.1f",
    "peak memory MB": ",.0f",
    "trained parameters": ",d",
}


def costs(runs: list[Run]) -> list[Table]:
    """Return one table with a row for each protocol, method and source, or none if nothing ran."""

    def key(run: Run) -> tuple:
        return run.protocol, run.method, run.dataset if run.protocol == "transfer" else ""

    # An evaluation on another dataset trained nothing.
    finished = [run for run in runs if run.results is not None and not run.target]
    trained = [run for run in finished if "train" in run.results.get("seconds", {})]
    rows = []
    for (protocol, method, source), group in groupby(sorted(trained, key=key), key):
        of_it = [run.results for run in group]
        name = f"{protocol}{f' from {source}' * bool(source)}"
        rows.append(Row(name, {"method": method, "runs": len(of_it), **_cost(of_it)}))
    if not rows:
        return []
    columns = ("method", *FORMATS)
    remarks = _remarks([run.results for run in trained])
    return [Table("cost", "training cost", "runs of", columns, rows, remarks, formats=FORMATS)]


def _cost(results: list[dict]) -> dict:
    train = [found["seconds"]["train"] for found in results]
    test = [found["seconds"]["evaluate"] for found in results]
    parameters = in_order(found.get("trained_parameters") for found in results)
    return {
        "train s a run": fmean(train),
        "train s in all": sum(train),
        "test s a run": fmean(test),
        "peak memory MB": _peak(results),
        # Class-specific prompts differ from dataset to dataset.
        "trained parameters": parameters[0] if len(parameters) == 1 else None,
    }


def _peak(results: list[dict]) -> float | None:
    """Return the highest peak in megabytes: the GPU's, or without one the process's."""
    peaks = [found.get("peak_memory") or {} for found in results]
    on_gpu = any(peak.get("gpu") for peak in peaks)
    values = [peak.get("gpu" if on_gpu else "process") for peak in peaks]
    return None if None in values else max(values) / 1e6


def _remarks(results: list[dict]) -> list[str]:
    devices = in_order(found.get("environment", {}).get("device", "?") for found in results)
    gpu = any((found.get("peak_memory") or {}).get("gpu") for found in results)
    return [
        f"measured on {', '.join(devices)}",
        "peak memory is the highest of all runs: "
        + ("what the GPU held" if gpu else "of the whole process, with all that it ran before"),
    ]
