"""All methods of a protocol in one table, and their short names."""

from collections.abc import Iterable
from dataclasses import replace

from softprompt.core.protocols.report.protocols import CLIP, TITLES
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import Cell, Row, Table, shots_label, shots_of


def method_labels(methods: Iterable[str]) -> tuple[dict[str, str], str]:
    """Return a short label for each METHOD/CONFIG[,KEY=VALUE...], and what all labels omit."""
    methods = list(dict.fromkeys(methods))
    parts = [method.partition(",") for method in methods]
    tags = {tag for _, _, tag in parts}
    omitted = []
    labels = {method: method for method in methods}
    if len(tags) == 1 and tags != {""}:
        labels = {method: name for method, (name, _, _) in zip(methods, parts, strict=True)}
        omitted.append(next(iter(tags)))
    configs = {label.partition("/")[2] for label in labels.values()}
    if len(configs) == 1 and len(set(labels.values())) == len(labels):
        labels = {method: label.partition("/")[0] for method, label in labels.items()}
        omitted.insert(0, f"configs/*/{next(iter(configs))}.yaml")
    return labels, " with ".join(omitted)


def grouped(tables: Iterable[Table]) -> dict[str, list[Table]]:
    """Group protocol tables by their title, so that the methods of a group can be compared."""
    groups: dict[str, list[Table]] = {}
    for table in tables:
        shots = f", {shots_label(table.shots)}" if table.shots else ""
        groups.setdefault(f"{TITLES[table.kind]}{table.source}{shots}", []).append(table)
    return groups


def comparable(tables: Iterable[Table]) -> dict[str, list[Table]]:
    """Return the groups with several methods."""
    return {title: group for title, group in grouped(tables).items() if len(group) > 1}


def overviews(tables: Iterable[Table]) -> list[Table]:
    """Return a table for each protocol with several methods: one row a method."""
    return [_overview(title, group) for title, group in comparable(tables).items()]


def _overview(title: str, tables: list[Table]) -> Table:
    datasets = in_order(name for table in tables for name in table.datasets)
    rows, remarks = [], []
    cells: dict[str, Cell]
    for table in tables:
        lacking = [dataset for dataset in datasets if dataset not in table.datasets]
        if lacking or table.incomplete:
            remarks.append(
                f"INCOMPLETE: {table.method} has {len(table.datasets)} of {len(datasets)} datasets"
                + (f", not {', '.join(lacking)}" if lacking else ", with runs missing")
            )
        cells = {
            column: cell
            for column, cell in _row(table).cells.items()
            if not column.startswith(CLIP)
        }
        if lacking:
            rows_of = (len(table.datasets), len(datasets))
            cells = {
                column: replace(cell, rows=rows_of) if isinstance(cell, Score) else cell
                for column, cell in cells.items()
            }
        name = f"{table.method} (INCOMPLETE)" if lacking or table.incomplete else table.method
        rows.append(Row(name, cells))
    columns = tuple(in_order(column for row in rows for column in row.cells))
    whole = max(tables, key=lambda table: (not table.incomplete, len(table.datasets)))
    name = "zero-shot CLIP (INCOMPLETE)" if whole.incomplete else "zero-shot CLIP"
    clip = {column: _row(whole).cells.get(_clip_column(column)) for column in columns}
    if any(clip.values()):
        rows.append(Row(name, clip))
    over = f"average over {len(datasets)} datasets" if len(datasets) > 1 else datasets[0]
    return Table("overview", f"{title}: all methods, {over}", "method", columns, rows, remarks)


def _row(table: Table) -> Row:
    """Return the average of a table, or its only dataset."""
    if table.rows[-1].average:
        return table.rows[-1]
    return next(row for row in table.rows if row.name == table.datasets[0])


def _clip_column(column: str) -> str:
    """Return the column of a protocol's table with zero-shot CLIP's number for ``column``."""
    every = column == "accuracy" or shots_of(column) is not None
    return CLIP if every else f"{CLIP} {column}"
