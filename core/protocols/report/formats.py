"""The formats of a report by name."""

from softprompt.core.protocols.report.as_csv import as_csv
from softprompt.core.protocols.report.page import as_html
from softprompt.core.protocols.report.tabulated import as_latex, as_markdown, as_text

RENDERERS = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "html": as_html,
}
