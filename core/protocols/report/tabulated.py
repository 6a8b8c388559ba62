"""Reports as text, Markdown and LaTeX, by tabulate."""

from collections.abc import Sequence

from tabulate import tabulate

from softprompt.core.protocols.report.protocols import CLIP
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import Cell, Row, Table

LEGEND = (
    "±: half of the 95% interval over seeds (Student t), from two seeds on. In brackets: the "
    "published number and ours minus it, with * if the published one is outside our interval."
)


def as_text(tables: Sequence[Table]) -> str:
    blocks = []
    for table in tables:
        grid = [_grid(it, "simple") for it in (table, *seed_tables(table))]
        sources = [f"published: {source}" for source in table.sources]
        notes = [*table.remarks, *sources]
        blocks.append(
            "\n".join([table.title, "", "\n\n".join(grid), *([""] if notes else []), *notes])
        )
    return "\n\n".join([*blocks, *_legend(tables)])


def as_markdown(tables: Sequence[Table]) -> str:
    blocks = []
    for table in tables:
        grid = [_grid(it, "github") for it in (table, *seed_tables(table))]
        notes = [f"- {note}" for note in table.remarks]
        notes += [f"- published: {source}" for source in table.sources]
        blocks += [f"### {table.title}", *grid, *(["\n".join(notes)] if notes else [])]
    return "\n\n".join([*blocks, *_legend(tables)])


def as_latex(tables: Sequence[Table]) -> str:
    """Return tables for booktabs, with the remarks in the caption."""
    blocks = []
    for table in tables:
        caption = ". ".join([table.title, *table.remarks])
        sources = [f"% published: {source}" for source in table.sources]
        grid = _grid(table, "latex_booktabs").replace("±", r"$\pm$")
        blocks.append(
            "\n".join(
                [r"\begin{table}", r"\centering", rf"\caption{{{_escaped(caption)}}}", grid]
                + [r"\end{table}", *sources]
            )
        )
    return "\n\n".join([*blocks, *(f"% {line}" for line in _legend(tables))])


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


def shown(cell: Cell, form: str = ".1f") -> str:
    """Return a cell as text."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Score):
        return format(cell, form)
    text = f"{cell.mean:.1f}"
    if cell.half:
        text += f" ±{cell.half:.1f}"
    if cell.published is not None and cell.difference is not None:
        mark = "*" if cell.outside else ""
        difference = round(cell.difference, 1) + 0.0  # no minus zero
        text += f" [{cell.published.value:.1f} {difference:+.1f}{mark}]"
    return text


def _cell(table: Table, row: Row, column: str) -> str:
    cell = row.cells.get(column)
    lacking = table.lacking(cell) if isinstance(cell, Score) else ""
    text = shown(cell, table.formats.get(column, ".1f"))
    return f"{text} ({lacking})" if lacking else text


def _grid(table: Table, form: str) -> str:
    rows = [
        [row.name, *(_cell(table, row, column) for column in table.columns)] for row in table.rows
    ]
    return tabulate(
        rows,
        headers=[table.heading, *table.columns],
        tablefmt=form,
        colalign=("left", *("right" for _ in table.columns)),
        disable_numparse=True,
    )


def _legend(tables: Sequence[Table]) -> list[str]:
    scores = [score for table in tables for score in table.scores()]
    return [LEGEND] if any(score.half or score.published for score in scores) else []


def _escaped(text: str) -> str:
    """Return text with LaTeX's special characters escaped."""
    for character in "\\&%$#_{}":
        text = text.replace(
            character, r"\textbackslash " if character == "\\" else f"\\{character}"
        )
    return text.replace("±", r"$\pm$")
