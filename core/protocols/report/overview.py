"""All methods of a protocol in one table: their averages, or one number on every dataset."""

from collections.abc import Iterable
from dataclasses import replace

from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.protocols import TITLES
from softprompt.core.protocols.report.remarks import ABOUT_RUNS, CAUTION, in_order
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import CLIP, Cell, Row, Table, shots_label, shots_of

AVERAGE = "average"


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
    for table in [table for table in tables if not table.untrained]:
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
            cells = {key: _over(table, datasets, cell) for key, cell in cells.items()}
        name = f"{table.method} (INCOMPLETE)" if lacking or table.incomplete else table.method
        rows.append(Row(name, cells))
    columns = in_order(column for row in rows for column in row.cells)
    columns = tuple(columns or (it for it in tables[0].columns if not it.startswith(CLIP)))
    clip, name = _zero_shot(tables)
    zero_shot = {column: _row(clip).cells.get(clip_column(column)) for column in columns}
    if any(zero_shot.values()):
        rows.append(Row(name, zero_shot))
    for table in tables:
        cautions = (remark for remark in table.remarks if remark.startswith(CAUTION))
        remarks += [f"{CAUTION}{table.method}: {it.removeprefix(CAUTION)}" for it in cautions]
    over = f"average over {len(datasets)} datasets" if len(datasets) > 1 else datasets[0]
    title = f"{title}: all methods, {over}"
    return Table("overview", title, "method", columns, rows, remarks, ranked=True)


def by_dataset(title: str, tables: list[Table]) -> list[Table]:
    """Return a table for each metric: one row a method, one column a dataset, as papers have it."""
    clip, zero_shot = _zero_shot(tables)
    trained = [table for table in tables if not table.untrained]
    datasets = in_order(name for table in tables for name in table.datasets)
    remarks = in_order(
        remark.replace(": ", f": {table.method}: ", 1)
        for table in tables
        for remark in table.remarks
        if remark.startswith(ABOUT_RUNS)
    )
    found = []
    for metric in in_order(column for table in tables for column in table.columns):
        if metric.startswith(CLIP):
            continue
        rows = [Row(table.method, _across(table, metric, datasets)) for table in trained]
        of_clip = _across(clip, clip_column(metric), datasets)
        rows += [Row(zero_shot, of_clip)] if any(of_clip.values()) else []
        columns = in_order(column for row in rows for column in row.cells)
        columns = tuple(sorted(columns, key=AVERAGE.__eq__))  # last
        about = f"{title}: {metric}"
        found.append(Table("datasets", about, "method", columns, rows, remarks, ranked=True))
    return found


def _across(table: Table, column: str, datasets: list[str]) -> dict[str, Cell]:
    """Return a column of a method's table as the cells of its row."""
    cells: dict[str, Cell] = {}
    for row in table.rows:
        score = row.score(column)
        if score is not None:
            average = row.average and len(table.datasets) < len(datasets)
            name = AVERAGE if row.average else row.name
            cells[name] = _over(table, datasets, score) if average else score
    return cells


def _over(table: Table, datasets: list[str], cell: Cell) -> Cell:
    """Return an average that states how many of the datasets it is over."""
    rows = (len(table.datasets), len(datasets))
    return replace(cell, rows=rows) if isinstance(cell, Score) else cell


def _zero_shot(tables: list[Table]) -> tuple[Table, str]:
    """Return the table that knows most of zero-shot CLIP, and the name of its row."""
    whole = max(tables, key=lambda table: (not table.incomplete, len(table.datasets)))
    return whole, f"{ZERO_SHOT} (INCOMPLETE)" if whole.incomplete else ZERO_SHOT


def _row(table: Table) -> Row:
    """Return the average of a table, or its only dataset."""
    if table.rows[-1].average:
        return table.rows[-1]
    return next(row for row in table.rows if row.name == table.datasets[0])


def clip_column(column: str) -> str:
    """Return the column of a protocol's table with zero-shot CLIP's number for ``column``."""
    every = column == "accuracy" or shots_of(column) is not None
    return CLIP if every else f"{CLIP} {column}"
