"""From runs to a report: every table that they have the numbers for."""

from softprompt.core.report.costs import costs
from softprompt.core.report.overview import overviews
from softprompt.core.report.protocols import protocol_tables
from softprompt.core.report.published import PublishedResults
from softprompt.core.report.significance import significances
from softprompt.core.report.table import Table
from softprompt.core.runs import Run


def build_report(runs: list[Run]) -> list[Table]:
    """Return the tables: of all methods together, of each one, of differences and of costs."""
    tables = protocol_tables(runs, PublishedResults())
    return [*overviews(tables), *tables, *significances(tables), *costs(runs)]
