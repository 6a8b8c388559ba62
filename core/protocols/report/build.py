"""From runs to a report: every table that there are results for, in the format asked for."""

from collections.abc import Callable, Sequence

from softprompt.core.protocols.report.as_csv import as_csv
from softprompt.core.protocols.report.costs import costs
from softprompt.core.protocols.report.overview import overviews
from softprompt.core.protocols.report.page import as_html
from softprompt.core.protocols.report.protocols import protocol_tables
from softprompt.core.protocols.report.published import PublishedResults
from softprompt.core.protocols.report.significance import significances
from softprompt.core.protocols.report.table import Table
from softprompt.core.protocols.report.tabulated import as_latex, as_markdown, as_text
from softprompt.core.protocols.runs import Run

RENDERERS: dict[str, Callable[[Sequence[Table]], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "html": as_html,
}


def build_report(runs: Sequence[Run]) -> list[Table]:
    """Return the tables: of all methods together, of each one, of differences and of costs."""
    tables = protocol_tables(runs, PublishedResults())
    return [*overviews(tables), *tables, *significances(tables), *costs(runs)]


def render(tables: Sequence[Table], form: str) -> str:
    """Return the tables as text in one of the formats of ``RENDERERS``.

    Raises:
        UserError: ``html`` needs a package that is not installed.
    """
    return RENDERERS[form](tables)
