"""A report as one HTML page that needs nothing beside it: plots, tables to sort and to filter."""

import base64
import gzip
from dataclasses import dataclass, field, replace

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import ASSETS
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.as_csv import as_csv
from softprompt.core.protocols.report.labels import method_labels, shots_of
from softprompt.core.protocols.report.overview import grouped, overviews
from softprompt.core.protocols.report.plots import Series, curves, dots
from softprompt.core.protocols.report.protocols import CLIP, TITLES
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.significance import significances
from softprompt.core.protocols.report.table import Row, Table

ASSETS = ASSETS / "report"
ABOUT_RUNS = ("INCOMPLETE", "NOT COMPARABLE")
PLOTTED = 13  # few-shot plots at most: the average and twelve datasets


@dataclass(frozen=True)
class Section:
    """A heading of the page and what is below it."""

    title: str
    tables: list[Table]
    plots: list[tuple[str, str]] = field(default_factory=list)  # caption and SVG
    shared: str = ""  # what its methods have in common, and their labels leave out

    @property
    def warnings(self) -> list[str]:
        """What is missing or differs: of every method, and of all of them together."""
        tables = [table for table in self.tables if table.kind in (*TITLES, "overview")]
        remarks = [remark for table in reversed(tables) for remark in table.remarks]
        return [remark for remark in remarks if remark.startswith(ABOUT_RUNS)]

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def as_html(tables: list[Table]) -> str:
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
    """All methods of one protocol: averages, plots, every dataset, and the tests between them."""
    labels, shared = method_labels(table.method for table in tables)
    plots = _curves(title, tables, labels) if tables[0].kind == "few_shot" else []
    plots = plots or _dots(title, tables, labels)
    of_all = [_relabelled(table, labels) for table in overviews(tables)]
    tests = [_relabelled(table, labels) for table in significances(tables)]
    title = title[0].upper() + title[1:]
    return Section(title, [*of_all, _joined(title, tables, labels), *tests], plots, shared)


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
    """Return the remarks, with the method in those about single runs of it."""
    found = []
    for remark in table.remarks:
        kind, _, rest = remark.partition(": ")
        found.append(f"{kind}: {method}: {rest}" if kind in ABOUT_RUNS else remark)
    return found


def _relabelled(table: Table, labels: dict[str, str]) -> Table:
    """Return the table with methods by their labels, longer names first: one may hold another."""
    order = sorted(labels.items(), key=lambda item: -len(item[0]))

    def short(text: str) -> str:
        for method, label in order:
            text = text.replace(method, label)
        return text

    rows = []
    for row in table.rows:
        cells = {key: short(cell) if key == "method" else cell for key, cell in row.cells.items()}
        rows.append(Row(short(row.name), cells, row.average))
    return replace(table, rows=rows, remarks=[short(remark) for remark in table.remarks])


def _dots(title: str, tables: list[Table], labels: dict[str, str]) -> list[tuple[str, str]]:
    """Plot every dataset and the average: one colour a method, and zero-shot CLIP."""
    found = []
    rows = in_order(row.name for table in tables for row in table.rows if not row.average)
    average = "average, some INCOMPLETE" if any(map(_lacking, tables)) else "average"
    rows += [average] if any(row.average for table in tables for row in table.rows) else []
    for metric in [name for name in tables[0].columns if not name.startswith(CLIP)]:
        clip = CLIP if metric == "accuracy" else f"{CLIP} {metric}"
        series = [Series(labels[table.method], _by_row(table, metric, average)) for table in tables]
        known: dict = {}
        for table in sorted(tables, key=_lacking, reverse=True):  # a whole one has the last word
            known |= {name: it for name, it in _by_row(table, clip, average).items() if it}
        series += [Series(ZERO_SHOT, known, reference=True)] if known else []
        found.append((f"{title}: {metric}", dots(f"{title}: {metric}", rows, series)))
    return found


def _lacking(table: Table) -> bool:
    return any("INCOMPLETE" in row.name for row in table.rows)


def _by_row(table: Table, column: str, average: str) -> dict[str, Score | None]:
    return {average if row.average else row.name: row.cells.get(column) for row in table.rows}


def _curves(title: str, tables: list[Table], labels: dict[str, str]) -> list[tuple[str, str]]:
    """Plot the average and each dataset over the number of shots, if there are several."""
    columns = [name for name in tables[0].columns if shots_of(name)]
    if len(columns) < 2:
        return []
    rows = sorted(
        {row.name: row.average for table in tables for row in table.rows}.items(),
        key=lambda row: not row[1],
    )
    found = []
    for name, _ in rows[:PLOTTED]:
        series, clip = [], None
        for table in tables:
            for row in [row for row in table.rows if row.name == name]:
                scores = {int(column.split()[0]): row.cells.get(column) for column in columns}
                series.append(Series(labels[table.method], scores))
                clip = row.cells.get(CLIP) or clip
        if clip:
            shots = [shots_of(column) for column in columns]
            series.append(Series(ZERO_SHOT, dict.fromkeys(shots, clip), reference=True))
        found.append((f"{title}: {name}", curves(f"{title}: {name}", series)))
    return found
