"""A report for LaTeX: methods and datasets in one table for each metric, the best in bold."""

from collections.abc import Iterator

from softprompt.core.base.escape import as_latex as escaped
from softprompt.core.base.escape import one_line
from softprompt.core.protocols.report.content import Group, Report
from softprompt.core.protocols.report.published import NOT_COMPARED
from softprompt.core.protocols.report.remarks import ABOUT_RUNS, in_order
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import Row, Table
from softprompt.core.protocols.report.tabulated import SPREADS, heads, shown, spread_of

FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # if too wide
PREAMBLE = r"% needs \usepackage{booktabs} and \usepackage{graphicx}"


def as_latex(report: Report, spread: str = "interval") -> str:
    """Return the tables; what needs no reader's attention stands in comments."""
    blocks = [PREAMBLE]
    for head, lines in heads(report):
        blocks.append(_comments([f"{head}:", *(f"  {line}" for line in lines)]))
    for group in report.groups:
        for table in group.short([*group.by_dataset, *group.tests]):
            blocks.append(_table(table, spread))
        blocks += [_comments(it) for it in (group.omitted, list(_published(group))) if it]
    blocks += [_table(table, spread) for table in report.others]
    ends = [SPREADS[spread]] if SPREADS[spread] else []
    return "\n\n".join([*blocks, _comments([*ends, *report.about])]).rstrip() + "\n"


def _table(table: Table, spread: str) -> str:
    warned = [remark for remark in table.remarks if remark.startswith(ABOUT_RUNS)]
    others = [remark for remark in table.remarks if remark not in warned]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule"]
    lines += [_line([escaped(name) for name in (table.heading, *table.columns)]), r"\midrule"]
    for index, row in enumerate(table.rows):
        cells = [_cell(table, index, row, column, spread) for column in table.columns]
        lines.append(_line([escaped(row.name), *cells]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    fitted = "\n".join([FITTED, *lines, "}"])
    caption = escaped(". ".join([table.title, *warned]))
    parts = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", fitted, r"\end{table}"]
    return "\n".join([*parts, *([_comments(others)] if others else [])])


def _cell(table: Table, index: int, row: Row, column: str, spread: str) -> str:
    value = row.cells.get(column)
    if value is None:
        return "--"
    if not isinstance(value, Score):
        return escaped(shown(value, table.formats.get(column, ".1f")))
    text = f"{value.mean:.1f}"
    text = rf"\textbf{{{text}}}" if (index, column) in table.best else text
    around = spread_of(value, spread)
    text += rf" $\pm${around:.1f}" if around else ""
    lacking = table.lacking(value)
    return f"{text} ({escaped(lacking)})" if lacking else text


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _published(group: Group) -> Iterator[str]:
    """Yield the published numbers beside ours, a line for each row, and their sources."""
    for table in group.short(group.tables):
        for row in table.rows:
            known = [(it, score) for it in table.columns if (score := row.score(it))]
            beside = [(it, shown(score, spread="none")) for it, score in known if score.published]
            if beside:
                numbers = ", ".join(f"{it} {text.partition(' ')[2]}" for it, text in beside)
                yield f"published: {group.labels[table.method]}, {row.name}: {numbers}"
    for table in group.short(group.tables):
        yield from (remark for remark in table.remarks if remark.startswith(NOT_COMPARED))
    for source in in_order(source for table in group.tables for source in table.sources):
        yield f"published: {source}"


def _comments(lines: list[str]) -> str:
    return "\n".join(f"% {one_line(line)}" for line in lines)
