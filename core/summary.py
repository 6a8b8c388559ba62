"""A protocol's runs as text."""

from softprompt.core.report.build import build_report
from softprompt.core.report.tabulated import as_text
from softprompt.core.runs import Run


def summary(runs: list[Run]) -> str:
    """Return the tables of all protocols, methods and sources among these runs."""
    return as_text(build_report(runs))
