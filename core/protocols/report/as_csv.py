"""A report as one CSV: a line for each value of each seed, and one for each mean."""

import csv
import io
from collections.abc import Sequence

from softprompt.core.protocols.report.scores import Score
from softprompt.core.protocols.report.table import Table

FIELDS: Sequence[str] = (
    "table kind method source shots row column seed value half_width published difference outside "
    "published_source rows_averaged rows"
).split()


def as_csv(tables: Sequence[Table]) -> str:
    """Return the CSV; in a line of a mean ``seed`` is empty and value ± half_width its interval."""
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    for table in tables:
        of_table = {"table": table.title, "kind": table.kind, "method": table.method}
        of_table |= {"source": table.source, "shots": table.shots}
        for row in table.rows:
            for column in table.columns:
                cell = row.cells.get(column)
                place = of_table | {"row": row.name, "column": column}
                if not isinstance(cell, Score):
                    writer.writerow(place | {"value": cell})
                    continue
                for seed, value in cell.by_seed.items():
                    writer.writerow(place | {"seed": seed, "value": value})
                writer.writerow(place | _mean(cell))
    return text.getvalue()


def _mean(score: Score) -> dict:
    fields: dict = {"value": score.mean, "half_width": score.half}
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
