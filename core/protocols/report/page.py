"""A report as one self-contained HTML page: plots, and tables to sort and to filter."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import one_line
from softprompt.core.base.files import ASSETS as PACKAGE_ASSETS
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.as_csv import as_csv
from softprompt.core.protocols.report.content import Group, Report
from softprompt.core.protocols.report.drawn import compared, plots_of
from softprompt.core.protocols.report.plots import legend
from softprompt.core.protocols.report.remarks import ABOUT_RUNS, CAUTION, in_order
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import CLIP, Row, Table
from softprompt.core.protocols.report.tabulated import SPREADS, spread_of

ASSETS = PACKAGE_ASSETS / "report"
RANKS = ("H", "accuracy")  # columns by which methods are sorted, else by the last one
UNLISTED = ("significance", "cost")  # kinds of tables without remarks on single runs


@dataclass(frozen=True)
class Section:
    """A heading of the page with its tables and plots."""

    title: str
    tables: list[Table]
    plots: list[tuple[str, str]] = field(default_factory=list)  # caption and SVG
    omitted: list[str] = field(default_factory=list)  # what the labels of its methods omit
    ranked_by: str = ""  # the column by which the first table is sorted, best first

    @property
    def warnings(self) -> list[str]:
        """The remarks on what is missing, differs or misleads, of the overview and every method."""
        tables = [table for table in self.tables if table.kind not in UNLISTED]
        remarks = in_order(remark for table in tables for remark in table.remarks)
        return [remark for remark in remarks if remark.startswith(ABOUT_RUNS)]


def as_html(report: Report, spread: str = "interval") -> str:
    """Return the page.

    Raises:
        UserError: jinja2 or matplotlib is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
    except ImportError:
        raise UserError('a page needs jinja2: pip install "softprompt[report]"') from None
    drawn = in_order(
        group.labels[table.method]
        for group in report.groups
        for table in group.tables
        if not table.untrained or len(group.tables) == 1
    )
    sections = [_section(group, drawn) for group in report.groups]
    for title, kind in (("Single runs", "single"), ("Cost", "cost")):
        tables = [table for table in report.others if table.kind == kind]
        sections += [Section(title, tables)] if tables else []
    warnings = in_order(line for section in sections for line in section.warnings)
    columns = (column for table in report.protocols for column in table.columns)
    reference = report.names.of(ZERO_SHOT) * any(it.startswith(CLIP) for it in columns)
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value) if type(value) is str else value,
    )
    return environment.get_template("page.html").render(
        sections=sections,
        about=report.about,
        methods=len({table.method for table in report.protocols}),
        left_out=report.left_out,
        incomplete=[line for line in warnings if line.startswith("INCOMPLETE")],
        different=[line for line in warnings if line.startswith("NOT COMPARABLE")],
        cautions=[it.removeprefix(CAUTION) for it in warnings if it.startswith(CAUTION)],
        legend=legend(drawn, reference) if drawn else [],
        spread=SPREADS[spread],
        half=lambda score: spread_of(score, spread),
        style=(ASSETS / "style.css").read_text(encoding="utf-8"),
        script=(ASSETS / "script.js").read_text(encoding="utf-8"),
        data=base64.b64encode(gzip.compress(as_csv(report).encode(), mtime=0)).decode(),
        is_score=lambda cell: isinstance(cell, Score),
    )


def _section(group: Group, drawn: Sequence[str]) -> Section:
    """Return the section of a protocol: averages, plots, every dataset, tests between methods."""
    plots = plots_of(group, drawn)
    averages = [_ranked(table) for table in group.short(group.overview)]
    title = group.title[0].upper() + group.title[1:]
    tables = [*averages, _joined(title, group), *group.short(group.tests)]
    return Section(title, tables, plots, group.omitted, _rank(averages[0]) if averages else "")


def _rank(table: Table) -> str:
    """Return the column by which the methods of an overview are sorted."""
    return next((name for name in RANKS if name in table.columns), table.columns[-1])


def _ranked(table: Table) -> Table:
    """Return an overview with the best method first; what is incomplete comes last."""
    column = _rank(table)

    def worth(row: Row) -> tuple[bool, float]:
        score = row.score(column)
        return "INCOMPLETE" not in row.name, score.mean if score else -1.0

    return replace(table, rows=sorted(table.rows, key=worth, reverse=True))


def _joined(title: str, group: Group) -> Table:
    """Return the tables of several methods as one, with the method as a column."""
    tables = compared(group)
    columns = in_order(column for table in tables for column in table.columns)
    labels = group.labels
    rows = [
        Row(row.name, {"method": labels[table.method], **row.cells}, row.average)
        for table in tables
        for row in table.rows
    ]
    remarks = in_order(it for table in group.tables for it in _named(table, labels[table.method]))
    sources = in_order(source for table in tables for source in table.sources)
    joined = replace(
        tables[0],
        title=f"{title}: every dataset",
        columns=("method", *columns),
        rows=rows,
        remarks=[*remarks, *(f"published: {source}" for source in sources)],
        ranked=True,
    )
    (short,) = group.short([joined])
    return short


def _named(table: Table, method: str) -> list[str]:
    """Return the remarks, with the method named in those on single runs."""
    named = []
    for remark in table.remarks:
        kind, _, rest = remark.partition(": ")
        named.append(f"{kind}: {method}: {rest}" if remark.startswith(ABOUT_RUNS) else remark)
    return named
