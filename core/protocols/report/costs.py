"""The cost of the runs of each method: processor seconds, time, memory, trained parameters."""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean

from softprompt.core.base.meter import SHARED
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.table import Row, Table
from softprompt.core.protocols.runs import SINGLE, Run, finished

FORMATS = {
    "runs": "d",
    "train CPU s": ",.1f",
    "test CPU s": ",.1f",
    "CPU s in all": ",.1f",
    "train s": ",.1f",
    "test s": ",.1f",
    "peak MB": ",.0f",
    "parameters": ",d",
}


def costs(runs: Sequence[Run]) -> list[Table]:
    """Return one table with a row for each protocol, method and source, or none if nothing ran.

    What the runs of one process share is a row of its own, for the first one happens to pay for it.
    """

    def key(pair: tuple[Run, dict]) -> tuple[str, str, str]:
        run = pair[0]
        return run.protocol, run.method, run.dataset if run.protocol == "transfer" else ""

    trained = [
        (run, results)
        for run, results in finished(runs)
        if not run.target and {"train", "evaluate"} <= results["seconds"].keys()
    ]
    rows = []
    for (protocol, method, source), group in groupby(sorted(trained, key=key), key):
        results = [each for _, each in group]
        name = f"{protocol if protocol != SINGLE else 'single'}{f' from {source}' * bool(source)}"
        rows.append(Row(name, {"method": method, "runs": len(results), **_cost(results)}))
    if not rows:
        return []
    found = [results for _, results in finished(runs)]
    shared = [seconds for each in found if (seconds := _processor(each, SHARED)) is not None]
    if shared:
        cells = {"method": "all", "runs": len(shared), "CPU s in all": sum(shared)}
        rows.append(Row("shared work", cells))
    columns = ("method", *FORMATS)
    remarks = _remarks([results for _, results in trained], bool(shared))
    title = "cost of training and test, mean of a run"
    return [Table("cost", title, "runs of", columns, rows, remarks, formats=FORMATS)]


def _cost(results: list[dict]) -> dict:
    parameters = in_order(each["trained_parameters"] for each in results)
    own = [_own(each) for each in results]
    return {
        "train CPU s": _mean([_processor(each, "train") for each in results]),
        "test CPU s": _mean([_processor(each, "evaluate") for each in results]),
        "CPU s in all": sum(it for it in own if it is not None) if None not in own else None,
        "train s": fmean(each["seconds"]["train"] for each in results),
        "test s": fmean(each["seconds"]["evaluate"] for each in results),
        "peak MB": _peak(results),
        # Class-specific prompts have another number on each dataset.
        "parameters": parameters[0] if len(parameters) == 1 else None,
    }


def _processor(results: dict, phase: str) -> float | None:
    """Return the processor seconds of a phase, None of runs that did not measure them."""
    return results["processor_seconds"].get(phase)


def _own(results: dict) -> float | None:
    """Return all processor seconds of a run without those of shared work."""
    found = results["processor_seconds"]
    known = {"train", "evaluate"} <= found.keys()
    return sum(value for phase, value in found.items() if phase != SHARED) if known else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _peak(results: list[dict]) -> float | None:
    """Return the highest peak in megabytes: the GPU's, or without one the process's."""
    peaks = [each["peak_memory"] or {} for each in results]
    on_gpu = any(peak.get("gpu") for peak in peaks)
    values = [peak.get("gpu" if on_gpu else "process") for peak in peaks]
    known = [value for value in values if value is not None]
    return max(known) / 1e6 if known and len(known) == len(values) else None


def _remarks(results: list[dict], shared: bool) -> list[str]:
    devices = in_order(str(each["environment"].get("device", "?")) for each in results)
    threads = in_order(str(each["threads"] or "?") for each in results)
    gpu = any((each["peak_memory"] or {}).get("gpu") for each in results)
    apart = (
        [
            "shared work is what other runs of the same process profit from, too: to load CLIP and "
            "the dataset, to decode pictures, to encode what no prompt changes"
        ]
        if shared
        else []
    )
    return [
        f"measured on {', '.join(devices)}, with {', '.join(threads)} thread(s) a run",
        "CPU s: processor seconds of a run's own work; s: seconds on the clock, shared work and "
        "waiting included",
        *apart,
        "peak MB is the highest of all runs: "
        + ("what the GPU held" if gpu else "of the whole process, with all that it ran before"),
    ]
