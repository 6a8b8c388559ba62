"""A report as one CSV: a line for each value of each seed, and one for each mean."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from softprompt.core.base.escape import as_csv_cell
from softprompt.core.protocols.report.content import Report
from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import Table

FIELDS: Sequence[str] = (
    "table kind method source shots row column seed value half_width published difference outside "
    "published_source rows_averaged rows deviation name"
).split()
LEFT_OUT = "left out"  # table and kind of a line that names a damaged file and what is wrong


def as_csv(report: Report) -> str:
    """Return the CSV.

    In a line of a mean ``seed`` is empty, value ± half_width its interval and ``deviation`` the
    standard deviation. A method has its full name and, as ``name``, the one of other formats.
    """
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()

    def write(fields: dict[str, Any]) -> None:
        writer.writerow(
            {key: as_csv_cell(it) if isinstance(it, str) else it for key, it in fields.items()}
        )

    for line in report.left_out:
        write({"table": LEFT_OUT, "kind": LEFT_OUT, "value": line})
    labels = {id(table): group.labels for group in report.groups for table in group.tables}
    for table in report.tables:
        name = labels.get(id(table), {}).get(table.method, "")
        _write_table(write, table, name)
    return text.getvalue()


def _write_table(write: Any, table: Table, name: str) -> None:
    of_table = {"table": table.title, "kind": table.kind, "method": table.method, "name": name}
    of_table |= {"source": table.source, "shots": table.shots}
    for row in table.rows:
        for column in table.columns:
            cell = row.cells.get(column)
            place = of_table | {"row": row.name, "column": column}
            if not isinstance(cell, Score):
                write(place | {"value": cell})
                continue
            for seed, value in cell.by_seed.items():
                write(place | {"seed": seed, "value": value})
            write(place | _mean(cell))


def _mean(score: Score) -> dict:
    fields: dict = {"value": score.mean, "half_width": score.half, "deviation": score.deviation}
    if score.published is not None:
        fields |= {
            "published": score.published.value,
            "difference": score.difference,
            "outside": score.outside,
            "published_source": score.published.source,
        }
    if score.rows is not None:
        fields |= {"rows_averaged": score.rows[0], "rows": score.rows[1]}
    return fields
