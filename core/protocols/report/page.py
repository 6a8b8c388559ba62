"""A report as one self-contained HTML page: plots, and tables to sort and to filter."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import ASSETS as PACKAGE_ASSETS
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.as_csv import as_csv
from softprompt.core.protocols.report.overview import grouped, method_labels, overviews
from softprompt.core.protocols.report.plots import Series, curves, dots
from softprompt.core.protocols.report.protocols import CLIP, TITLES
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.significance import significances
from softprompt.core.protocols.report.table import Row, Table, shots_of

ASSETS = PACKAGE_ASSETS / "report"
ABOUT_RUNS = ("INCOMPLETE", "NOT COMPARABLE")
MOST_PLOTS = 13  # of few shots: the average and twelve datasets


@dataclass(frozen=True)
class Section:
    """A heading of the page with its tables and plots."""

    title: str
    tables: list[Table]
    plots: list[tuple[str, str]] = field(default_factory=list)  # caption and SVG
    shared: str = ""  # what all its methods have in common and their labels omit

    @property
    def warnings(self) -> list[str]:
        """The remarks on what is missing or differs, of every method and of the overview."""
        tables = [table for table in self.tables if table.kind in (*TITLES, "overview")]
        remarks = [remark for table in reversed(tables) for remark in table.remarks]
        return [remark for remark in remarks if remark.startswith(ABOUT_RUNS)]

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def as_html(tables: Sequence[Table]) -> str:
    """Return the page.

    Raises:
        UserError: jinja2 or matplotlib is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
    except ImportError:
        raise UserError('a page needs jinja2: pip install "softprompt[report]"') from None
    protocols = [table for table in tables if table.kind in TITLES]
    sections = [_section(title, group) for title, group in grouped(protocols).items()]
    labels, shared = method_labels(table.method for table in protocols)
    costs = [_relabelled(table, labels) for table in tables if table.kind == "cost"]
    sections += [Section("Cost", costs, shared=shared)] if costs else []
    warnings = [line for section in sections for line in section.warnings]
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        sections=sections,
        methods=len({table.method for table in protocols}),
        incomplete=[line for line in warnings if line.startswith("INCOMPLETE")],
        different=[line for line in warnings if line.startswith("NOT COMPARABLE")],
        style=(ASSETS / "style.css").read_text(encoding="utf-8"),
        script=(ASSETS / "script.js").read_text(encoding="utf-8"),
        data=base64.b64encode(gzip.compress(as_csv(tables).encode(), mtime=0)).decode(),
        is_score=lambda cell: isinstance(cell, Score),
    )


def _section(title: str, tables: list[Table]) -> Section:
    """Return the section of a protocol: averages, plots, every dataset, tests between methods."""
    labels, shared = method_labels(table.method for table in tables)
    plots = _curves(title, tables, labels) if tables[0].kind == "few_shot" else []
    plots = plots or _dots(title, tables, labels)
    averages = [_relabelled(table, labels) for table in overviews(tables)]
    tests = [_relabelled(table, labels) for table in significances(tables)]
    title = title[0].upper() + title[1:]
    return Section(title, [*averages, _joined(title, tables, labels), *tests], plots, shared)


def _joined(title: str, tables: list[Table], labels: dict[str, str]) -> Table:
    """Return the tables of several methods as one, with the method as a column."""
    columns = in_order(column for table in tables for column in table.columns)
    rows = [
        Row(row.name, {"method": labels[table.method], **row.cells}, row.average)
        for table in tables
        for row in table.rows
    ]
    remarks = in_order(it for table in tables for it in _named(table, labels[table.method]))
    sources = in_order(source for table in tables for source in table.sources)
    return replace(
        tables[0],
        title=f"{title}: every dataset",
        columns=("method", *columns),
        rows=rows,
        remarks=[*remarks, *(f"published: {source}" for source in sources)],
    )


def _named(table: Table, method: str) -> list[str]:
    """Return the remarks, with the method named in those on single runs."""
    named = []
    for remark in table.remarks:
        kind, _, rest = remark.partition(": ")
        named.append(f"{kind}: {method}: {rest}" if kind in ABOUT_RUNS else remark)
    return named


def _relabelled(table: Table, labels: dict[str, str]) -> Table:
    """Return the table with labels for methods, longer names first: one may contain another."""
    order = sorted(labels.items(), key=lambda item: -len(item[0]))

    def short(text: str) -> str:
        for method, label in order:
            text = text.replace(method, label)
        return text

    rows = []
    for row in table.rows:
        cells = {
            key: short(str(cell)) if key == "method" else cell for key, cell in row.cells.items()
        }
        rows.append(Row(short(row.name), cells, row.average))
    return replace(table, rows=rows, remarks=[short(remark) for remark in table.remarks])


def _dots(title: str, tables: list[Table], labels: dict[str, str]) -> list[tuple[str, str]]:
    """Return a plot for each metric: datasets and average, one colour a method, zero-shot CLIP."""
    plots = []
    rows = in_order(row.name for table in tables for row in table.rows if not row.average)
    average = "average, some INCOMPLETE" if any(map(_is_incomplete, tables)) else "average"
    rows += [average] if any(row.average for table in tables for row in table.rows) else []
    for metric in [name for name in tables[0].columns if not name.startswith(CLIP)]:
        clip = CLIP if metric == "accuracy" else f"{CLIP} {metric}"
        series = [Series(labels[table.method], _by_row(table, metric, average)) for table in tables]
        zero_shot: dict = {}
        for table in sorted(tables, key=_is_incomplete, reverse=True):  # complete ones overwrite
            zero_shot |= {name: it for name, it in _by_row(table, clip, average).items() if it}
        series += [Series(ZERO_SHOT, zero_shot, reference=True)] if zero_shot else []
        plots.append((f"{title}: {metric}", dots(f"{title}: {metric}", rows, series)))
    return plots


def _is_incomplete(table: Table) -> bool:
    return any("INCOMPLETE" in row.name for row in table.rows)


def _by_row(table: Table, column: str, average: str) -> dict[str | int, Score | None]:
    return {average if row.average else row.name: row.score(column) for row in table.rows}


def _curves(title: str, tables: list[Table], labels: dict[str, str]) -> list[tuple[str, str]]:
    """Return a plot over the number of shots for the average and each dataset, if any varies."""
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
                series.append(Series(labels[table.method], scores))
                clip = row.score(CLIP) or clip
        if clip:
            series.append(Series(ZERO_SHOT, dict.fromkeys(columns, clip), reference=True))
        plots.append((f"{title}: {name}", curves(f"{title}: {name}", series)))
    return plots
