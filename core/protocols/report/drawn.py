"""Which plots a protocol has: its series, in the colours of the page's one legend."""

from collections.abc import Sequence

from softprompt.core.protocols.report.content import Group
from softprompt.core.protocols.report.plots import Series, curves, dots
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import CLIP, Table, shots_of

MOST_PLOTS = 13  # of few shots: the average and twelve datasets


def plots_of(group: Group, drawn: Sequence[str]) -> list[tuple[str, str]]:
    """Return the plots of a group, each with its caption: curves over shots, or else dots.

    Args:
        drawn: the labels of all methods of the page, in the order of its legend.
    """
    plots = _curves(group, drawn) if group.tables[0].kind == "few_shot" else []
    return plots or _dots(group, drawn)


def compared(group: Group) -> list[Table]:
    """Return a group's tables without those of zero-shot CLIP itself, which all others show."""
    return [table for table in group.tables if not table.untrained] or group.tables


def _dots(group: Group, drawn: Sequence[str]) -> list[tuple[str, str]]:
    """Return a plot for each metric: datasets and average, one colour a method, zero-shot CLIP."""
    plots = []
    tables = compared(group)
    rows = in_order(row.name for table in tables for row in table.rows if not row.average)
    average = "average, some INCOMPLETE" if any(map(_is_incomplete, tables)) else "average"
    rows += [average] if any(row.average for table in tables for row in table.rows) else []
    for metric in [name for name in tables[0].columns if not name.startswith(CLIP)]:
        clip = CLIP if metric == "accuracy" else f"{CLIP} {metric}"
        series = [
            Series(drawn.index(group.labels[table.method]), _by_row(table, metric, average))
            for table in tables
        ]
        zero_shot: dict = {}
        for table in sorted(group.tables, key=_is_incomplete, reverse=True):  # complete ones last
            zero_shot |= {name: it for name, it in _by_row(table, clip, average).items() if it}
        series += [Series(0, zero_shot, reference=True)] if zero_shot else []
        title = f"{group.title}: {metric}"
        plots.append((title, dots(title, rows, series, group.names.of)))
    return plots


def _is_incomplete(table: Table) -> bool:
    return any("INCOMPLETE" in row.name for row in table.rows)


def _by_row(table: Table, column: str, average: str) -> dict[str | int, Score | None]:
    return {average if row.average else row.name: row.score(column) for row in table.rows}


def _curves(group: Group, drawn: Sequence[str]) -> list[tuple[str, str]]:
    """Return a plot over the number of shots for the average and each dataset, if any varies."""
    tables = compared(group)
    columns = {shots: name for name in tables[0].columns if (shots := shots_of(name))}
    if len(columns) < 2:
        return []
    rows = sorted(
        {row.name: row.average for table in tables for row in table.rows}.items(),
        key=lambda row: not row[1],
    )
    plots = []
    for name, _ in rows[:MOST_PLOTS]:
        series, clip = [], None
        for table in tables:
            for row in [row for row in table.rows if row.name == name]:
                scores: dict[str | int, Score | None] = {
                    shots: row.score(column) for shots, column in columns.items()
                }
                series.append(Series(drawn.index(group.labels[table.method]), scores))
                clip = row.score(CLIP) or clip
        if clip:
            series.append(Series(0, dict.fromkeys(columns, clip), reference=True))
        title = f"{group.title}: {group.names.of(name)}"
        plots.append((title, curves(title, series)))
    return plots
