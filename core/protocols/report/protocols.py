"""The tables of a protocol's runs: means over seeds, averages over datasets.

A mean is over the seeds that have finished, an average over the rows; wherever one lacks a run that
others have, the table is marked as incomplete.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from softprompt.core.base.registry import normalized
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.plans.protocols import UNTRAINED
from softprompt.core.protocols.report.published import PublishedResults
from softprompt.core.protocols.report.remarks import in_order, missing, remarks
from softprompt.core.protocols.report.scores import Score, average_of, h_of, over_seeds
from softprompt.core.protocols.report.table import CLIP, Cell, Row, Table, shots_label
from softprompt.core.protocols.runs import SINGLE, Run, finished
from softprompt.core.protocols.stored import trained_name

HALVES = ("base", "new")
TITLES = {
    "base2new": "base to new classes",
    "few_shot": "few shots",
    "cross_dataset": "transfer from ",
    "domain_generalization": "domain shift from ",
}


def kind_of(run: Run) -> str:
    """Return the protocol as the field counts them, which tells domain shift from transfer.

    A shifted dataset is named after its source, as imagenet_a and shapes_sketch are.
    """
    if run.protocol != "transfer":
        return run.protocol
    shifted = run.target and run.target.startswith(run.dataset)
    return "domain_generalization" if shifted else "cross_dataset"


def protocol_tables(runs: Sequence[Run], published: PublishedResults) -> list[Table]:
    """Return a table for each protocol, method, source and number of shots."""

    runs = [run for run in runs if run.protocol != SINGLE]

    def key(run: Run) -> tuple:
        source = run.dataset if run.protocol == "transfer" else ""
        shots = 0 if run.protocol == "few_shot" else run.shots
        return run.protocol, run.method, source, shots

    tables = []
    for (protocol, method, source, shots), group in groupby(sorted(runs, key=key), key):
        members = list(group)
        for kind, of_kind in _kinds(members):
            rows = {"base2new": _base2new, "few_shot": _few_shot}.get(protocol, _transfer)(of_kind)
            seeds = " ".join(str(seed) for seed in sorted({run.seed for run in of_kind}))
            title = f"{TITLES[kind]}{source}: {method}"
            title += f", {shots_label(shots)}" * bool(shots) + f", mean over the seeds {seeds}"
            columns = in_order(column for row in rows for column in row.cells)
            table = Table(
                kind,
                title,
                "dataset",
                tuple(columns),
                rows,
                remarks(of_kind),
                method,
                source,
                shots or None,
                untrained=_untrained(of_kind),
            )
            tables.append(published.beside(table, of_kind))
    return tables


def _untrained(runs: list[Run]) -> bool:
    """Whether these are runs of zero-shot CLIP itself, with the sentences of the comparison."""
    done = finished(runs)
    for _, results in done:
        own, compared = results["results"][trained_name(results)], results["results"].get(ZERO_SHOT)
        same = compared is not None and all(
            compared.get(subset, {}).get("accuracy") == scores["accuracy"]
            for subset, scores in own.items()
        )
        if normalized(trained_name(results)) != UNTRAINED or not same:
            return False
    return bool(done)


def _kinds(runs: list[Run]) -> list[tuple[str, list[Run]]]:
    """Separate transfers from domain shifts; the tables of both show the source."""
    if runs[0].protocol != "transfer":
        return [(runs[0].protocol, runs)]
    sources = [run for run in runs if not run.target]
    kinds = []
    for kind in ("cross_dataset", "domain_generalization"):
        targets = [run for run in runs if run.target and kind_of(run) == kind]
        if targets:
            kinds.append((kind, [*sources, *targets]))
    return kinds or [("cross_dataset", sources)]


def _base2new(runs: list[Run]) -> list[Row]:
    rows = []
    for dataset in in_order(run.dataset for run in runs):
        members = [run for run in runs if run.dataset == dataset]
        cells: dict[str, Cell] = {}
        for prefix, model in (("", 0), (f"{CLIP} ", 1)):
            separate = [_score(members, model, half) for half in HALVES]
            cells |= _with_h(prefix, separate)
            generalized = [
                _score(members, model, "generalized", lambda scores, half=half: scores[half])
                for half in HALVES
            ]
            if generalized != [None, None]:
                cells |= _with_h(f"{prefix}generalized ", generalized)
        rows.append(Row(dataset, cells))
    return [*rows, *_average(rows, runs)]


def _few_shot(runs: list[Run]) -> list[Row]:
    rows = []
    for dataset in in_order(run.dataset for run in runs):
        members = [run for run in runs if run.dataset == dataset]
        cells: dict[str, Cell] = {CLIP: _score(members, 1, "all")}
        for shots in sorted({run.shots for run in runs}):
            cells[shots_label(shots)] = _score([r for r in members if r.shots == shots], 0, "all")
        rows.append(Row(dataset, cells))
    return [*rows, *_average(rows, runs)]


def _transfer(runs: list[Run]) -> list[Row]:
    def row(target: str, name: str) -> Row:
        members = [run for run in runs if run.target == target]
        return Row(name, {"accuracy": _score(members, 0, "all"), CLIP: _score(members, 1, "all")})

    targets = [row(target, target) for target in in_order(run.target for run in runs) if target]
    source = row("", f"{runs[0].dataset} (source)")
    return [source, *targets, *_average(targets, runs, "average of targets")]


def _score(
    runs: Iterable[Run], model: int, subset: str, part: Callable[[dict], dict] = lambda it: it
) -> Score | None:
    """Return the accuracy over seeds of the trained (0) or the zero-shot (1) model."""
    by_seed = {run.seed: run.scores(subset)[model] for run in runs}
    values = {seed: part(it)["accuracy"] for seed, it in sorted(by_seed.items()) if it is not None}
    return over_seeds(values) if values and None not in values.values() else None


def _with_h(prefix: str, base_and_new: Sequence[Score | None]) -> dict[str, Cell]:
    base, new = base_and_new
    h = h_of(base, new) if base and new else None
    return {f"{prefix}base": base, f"{prefix}new": new, f"{prefix}H": h}


def _average(rows: list[Row], runs: list[Run], name: str = "average") -> list[Row]:
    """Return the row of averages, with the H of the averages, as is usual in publications."""
    if len(rows) < 2:
        return []
    averages: dict[str, Score | None] = {}
    for column in in_order(column for row in rows for column in row.cells):
        averages[column] = average_of([row.score(column) for row in rows])
        prefix, is_h, _ = column.rpartition("H")
        base, new = (averages.get(f"{prefix}{half}") for half in HALVES)
        if is_h and base and new:
            averages[column] = h_of(base, new)
    incomplete = missing(runs) or any(score and score.incomplete for score in averages.values())
    return [Row(f"{name} (INCOMPLETE)" if incomplete else name, dict(averages), average=True)]
