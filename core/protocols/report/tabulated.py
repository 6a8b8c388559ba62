"""Reports as text and Markdown, by tabulate."""

import textwrap
from collections.abc import Callable

from tabulate import tabulate

from softprompt.core.base import escape
from softprompt.core.protocols.report.content import Report
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import CLIP, Cell, Row, Table

WIDTH = 80  # of the lines of a text but for those of tables
SPREADS = {
    "interval": "±: half of the 95% interval over seeds (Student t), from two seeds on.",
    "std": "±: the sample standard deviation over seeds, from two seeds on.",
    "none": "",
}
PUBLISHED = (
    "In brackets: the published number and ours minus it, with * if the published one is outside "
    "our 95% interval over seeds."
)


def as_text(report: Report, spread: str = "interval") -> str:
    """Return the report for a terminal; only tables have lines longer than ``WIDTH``."""
    blocks = [
        "\n".join([f"{head}:", *(_wrapped(line, "  ") for line in lines)])
        for head, lines in heads(report)
    ]
    for title, table, notes in tables_of(report):
        grid = [_grid(it, "simple", spread, escape.one_line) for it in (table, *seed_tables(table))]
        below = "\n".join(_wrapped(note) for note in notes)
        blocks.append("\n\n".join([_wrapped(title), *grid]) + f"\n\n{below}" * bool(notes))
    ends = [*legend(report, spread), *report.about]
    return "\n\n".join([*blocks, *(["\n".join(map(_wrapped, ends))] if ends else [])])


def as_markdown(report: Report, spread: str = "interval") -> str:
    """Return the report in GitHub's Markdown, the best of a column in bold."""
    blocks = []
    for head, lines in heads(report):
        listed = "\n".join(f"- {escape.as_markdown(line)}" for line in lines)
        blocks += [f"**{head}:**", listed]
    for title, table, notes in tables_of(report):
        grid = [
            _grid(it, "github", spread, escape.as_markdown, "**{}**".format)
            for it in (table, *seed_tables(table))
        ]
        listed = "\n".join(f"- {escape.as_markdown(note)}" for note in notes)
        blocks += [f"### {escape.as_markdown(title)}", *grid, *([listed] if notes else [])]
    ends = [*legend(report, spread), *report.about]
    return "\n\n".join([*blocks, *map(escape.as_markdown, ends)])


def heads(report: Report) -> list[tuple[str, list[str]]]:
    """Return what stands above all tables, each with its lines: the files that were left out."""
    files = len(report.left_out)
    left_out = f"LEFT OUT: {files} results file{'s' * (files != 1)}"
    return [(left_out, report.left_out)] if files else []


def tables_of(report: Report) -> list[tuple[str, Table, list[str]]]:
    """Return each table in the order of a text, with its title and the notes below it."""
    found = []
    for group in report.groups:
        # What labels omit is said once, below the first table that uses them.
        omitted = list(group.omitted)
        for table in group.short([*group.overview, *group.tables, *group.tests]):
            sources = [f"published: {source}" for source in table.sources]
            found.append((table.title, table, [*omitted, *table.remarks, *sources]))
            omitted = []
    return found + [(table.title, table, table.remarks) for table in report.others]


def seed_tables(table: Table) -> list[Table]:
    """Return the values by seed behind a table's means, as a table of the same rows."""
    seeds = table.seeds
    columns = tuple(column for column in table.columns if not column.startswith(CLIP))
    if len(seeds) < 2 or table.kind == "overview":
        return []

    def listed(cell: Cell) -> str | None:
        if not isinstance(cell, Score):
            return None
        values = [cell.by_seed.get(seed) for seed in seeds]
        return " ".join("-" if value is None else f"{value:.1f}" for value in values)

    rows = [
        Row(row.name, {column: listed(row.cells.get(column)) for column in columns})
        for row in table.rows
    ]
    heading = f"{table.heading}, seeds {' '.join(map(str, seeds))}"
    return [Table(table.kind, table.title, heading, columns, rows)]


def spread_of(score: Score, spread: str) -> float | None:
    """Return what follows ±, None if nothing does."""
    return {"interval": score.half, "std": score.deviation, "none": None}[spread]


def shown(cell: Cell, form: str = ".1f", spread: str = "interval") -> str:
    """Return a cell as text."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Score):
        return format(cell, form)
    text = f"{cell.mean:.1f}"
    around = spread_of(cell, spread)
    if around:
        text += f" ±{around:.1f}"
    if cell.published is not None and cell.difference is not None:
        mark = "*" if cell.outside else ""
        difference = round(cell.difference, 1) + 0.0  # no minus zero
        text += f" [{cell.published.value:.1f} {difference:+.1f}{mark}]"
    return text


def legend(report: Report, spread: str) -> list[str]:
    """Return what ± and brackets mean, if there are any."""
    scores = [score for table in report.protocols for score in table.scores()]
    lines = [SPREADS[spread]] if any(spread_of(score, spread) for score in scores) else []
    return lines + ([PUBLISHED] if any(score.published for score in scores) else [])


def _grid(
    table: Table,
    form: str,
    spread: str,
    escaped: Callable[[str], str],
    bold: Callable[[str], str] = str,
) -> str:
    def cell(index: int, row: Row, column: str) -> str:
        value = row.cells.get(column)
        text = shown(value, table.formats.get(column, ".1f"), spread)
        if not isinstance(value, Score):
            return escaped(text)
        lacking = table.lacking(value)
        text = bold(text) if (index, column) in table.best else text
        return f"{text} ({lacking})" if lacking else text

    rows = [
        [escaped(row.name), *(cell(index, row, column) for column in table.columns)]
        for index, row in enumerate(table.rows)
    ]
    texts = {
        column
        for row in table.rows
        for column, value in row.cells.items()
        if isinstance(value, str) and table.heading == "run"
    }
    return tabulate(
        rows,
        headers=[escaped(name) for name in (table.heading, *table.columns)],
        tablefmt=form,
        colalign=("left", *("left" if it in texts else "right" for it in table.columns)),
        disable_numparse=True,
    )


def _wrapped(text: str, indent: str = "") -> str:
    """Return a line as several of at most ``WIDTH`` characters, but for words that are longer."""
    return textwrap.fill(
        escape.one_line(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
