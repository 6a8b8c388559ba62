"""From runs to a report: every table that there are results for, in the format asked for."""

from collections.abc import Callable, Sequence

from softprompt.core.protocols.report.as_csv import as_csv
from softprompt.core.protocols.report.as_latex import as_latex
from softprompt.core.protocols.report.content import Group, Report
from softprompt.core.protocols.report.costs import costs
from softprompt.core.protocols.report.names import Names
from softprompt.core.protocols.report.overview import grouped
from softprompt.core.protocols.report.page import as_html
from softprompt.core.protocols.report.protocols import protocol_tables
from softprompt.core.protocols.report.published import PublishedResults
from softprompt.core.protocols.report.remarks import in_order
from softprompt.core.protocols.report.singles import singles
from softprompt.core.protocols.report.tabulated import as_markdown, as_text
from softprompt.core.protocols.runs import SINGLE, Run, finished

RENDERERS: dict[str, Callable[[Report, str], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": lambda report, spread: as_csv(report),
    "html": as_html,
}
PACKAGES = ("softprompt", "torch")  # whose versions a report states


def build_report(runs: Sequence[Run], names: Sequence[str] = ()) -> Report:
    """Return the report of some runs.

    Args:
        names: ``OLD=NEW``, names of the user's own for methods and datasets.

    Raises:
        UserError: a name is of nothing in the report, or two methods would have the same.
    """
    own = Names(names)
    tables = protocol_tables(runs, PublishedResults())
    groups = [Group(title, members, own) for title, members in grouped(tables).items()]
    datasets = in_order(name for run in runs for name in (run.dataset, run.target) if name)
    labels = [label for group in groups for label in group.labels.values()]
    models = [run.method for run in runs if run.protocol == SINGLE]
    own.check([*(table.method for table in tables), *labels], [*datasets, *models])
    left_out = in_order(run.damage for run in runs if run.damage)
    return Report(groups, singles(runs), costs(runs), own, left_out, _about(runs))


def render(report: Report, form: str, spread: str = "interval") -> str:
    """Return the report in one of the formats of ``RENDERERS``.

    Args:
        spread: what follows ±: "interval", "std" or "none".

    Raises:
        UserError: ``html`` needs a package that is not installed.
    """
    return RENDERERS[form](report, spread)


def _about(runs: Sequence[Run]) -> list[str]:
    """Return lines on when, by which code and on which device the runs ran, where they say so."""
    done = [results for _, results in finished(runs)]
    days = sorted({it["finished"][:10] for it in done if it["finished"]})
    where = [it["environment"] for it in done]
    commits = in_order(str(it["commit"])[:12] for it in where if it.get("commit"))
    changed = any(str(it.get("commit")).endswith("+") for it in where)
    devices = in_order(str(it["device"]) for it in where if it.get("device"))
    versions = (it["versions"] for it in where if isinstance(it.get("versions"), dict))
    known = (f"{it} {its[it]}" for its in versions for it in PACKAGES if its.get(it))
    of_code = [*in_order(known), *(f"commit {commit}" for commit in commits)]
    lines = []
    if days:
        lines.append(f"runs finished: {' to '.join(in_order([days[0], days[-1]]))}")
    if of_code:
        lines.append(f"code: {', '.join(of_code)}" + ", with changes to its files" * changed)
    if devices:
        lines.append(f"device: {', '.join(devices)}")
    return lines
