"""All methods of a protocol in one table."""

from dataclasses import replace

from softprompt.core.protocols.report.labels import shots_label, shots_of
from softprompt.core.protocols.report.protocols import CLIP, TITLES
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.table import Row, Table


def grouped(tables: list[Table]) -> dict[str, list[Table]]:
    """Group protocol tables by what was done, so that the methods of a group can be compared."""
    groups: dict[str, list[Table]] = {}
    for table in tables:
        shots = f", {shots_label(table.shots)}" if table.shots else ""
        groups.setdefault(f"{TITLES[table.kind]}{table.source}{shots}", []).append(table)
    return groups


def comparable(tables: list[Table]) -> dict[str, list[Table]]:
    """Return the groups of several methods."""
    return {title: group for title, group in grouped(tables).items() if len(group) > 1}


def overviews(tables: list[Table]) -> list[Table]:
    """Return a table for each protocol that several methods went through: one row a method."""
    return [_overview(title, group) for title, group in comparable(tables).items()]


def _overview(title: str, tables: list[Table]) -> Table:
    datasets = in_order(name for table in tables for name in table.datasets)
    rows, remarks = [], []
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
            cells = {column: cell and replace(cell, rows=rows_of) for column, cell in cells.items()}
        name = f"{table.method} (INCOMPLETE)" if lacking or table.incomplete else table.method
        rows.append(Row(name, cells))
    columns = tuple(in_order(column for row in rows for column in row.cells))
    whole = max(tables, key=lambda table: (not table.incomplete, len(table.datasets)))
    name = "zero-shot CLIP (INCOMPLETE)" if whole.incomplete else "zero-shot CLIP"
    clip = {column: _row(whole).cells.get(_of_clip(column)) for column in columns}
    if any(clip.values()):
        rows.append(Row(name, clip))
    over = f"average over {len(datasets)} datasets" if len(datasets) > 1 else datasets[0]
    return Table("overview", f"{title}: all methods, {over}", "method", columns, rows, remarks)


def _row(table: Table) -> Row:
    """The average of a table, or its one dataset."""
    if table.rows[-1].average:
        return table.rows[-1]
    return next(row for row in table.rows if row.name == table.datasets[0])


def _of_clip(column: str) -> str:
    """Where a protocol's table has zero-shot CLIP's number for a column."""
    every = column == "accuracy" or shots_of(column) is not None
    return CLIP if every else f"{CLIP} {column}"
