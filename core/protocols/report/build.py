"""From runs to a report: every table that they have the numbers for."""

from softprompt.core.protocols.report.costs import costs
from softprompt.core.protocols.report.overview import overviews
from softprompt.core.protocols.report.protocols import protocol_tables
from softprompt.core.protocols.report.published import PublishedResults
from softprompt.core.protocols.report.significance import significances
from softprompt.core.protocols.report.table import Table
from softprompt.core.protocols.runs import Run


def build_report(runs: list[Run]) -> list[Table]:
    """Return the tables: of all methods together, of each one, of differences and of costs."""
    tables = protocol_tables(runs, PublishedResults())
    return [*overviews(tables), *tables, *significances(tables), *costs(runs)]
