"""The tables of a report as plain data, which renderers turn into text and pages."""

import re
from dataclasses import dataclass, field
from functools import cached_property

from softprompt.core.protocols.report.scores import Score

CLIP = "CLIP"  # a column of zero-shot CLIP, or the start of such a column's name
Cell = Score | float | int | str | None


@dataclass(frozen=True)
class Row:
    """A row by its name."""

    name: str
    cells: dict[str, Cell]
    average: bool = False

    def score(self, column: str) -> Score | None:
        """Return the score in a column, None if it holds none."""
        cell = self.cells.get(column)
        return cell if isinstance(cell, Score) else None


@dataclass(frozen=True)
class Table:
    """A table, with what a reader of its numbers must know."""

    kind: str  # a protocol, or overview, datasets, significance, cost, single
    title: str
    heading: str  # heads the column of row names
    columns: tuple[str, ...]
    rows: list[Row]
    remarks: list[str] = field(default_factory=list)
    method: str = ""  # METHOD/CONFIG of a protocol's table
    source: str = ""  # of a transfer: the dataset of the training
    shots: int | None = None  # None: one column for each number of shots
    formats: dict[str, str] = field(default_factory=dict)  # of numbers, by column; else ".1f"
    untrained: bool = False  # its method is zero-shot CLIP itself
    ranked: bool = False  # the scores of a column that stand under one name compete

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({seed for score in self.scores() for seed in score.by_seed})

    @property
    def sources(self) -> list[str]:
        """The sources of the published numbers beside its own."""
        found = [score.published for score in self.scores() if score.published]
        return list(dict.fromkeys(f"{item.method}: {item.source}" for item in found))

    @property
    def incomplete(self) -> bool:
        return any(remark.startswith("INCOMPLETE") for remark in self.remarks)

    @property
    def datasets(self) -> list[str]:
        """The names of its rows without the average and, in transfers, without the source."""
        rows = [row.name for row in self.rows if not row.average]
        return [name for name in rows if not name.endswith(" (source)")] or rows

    @cached_property
    def best(self) -> set[tuple[int, str]]:
        """The row's index and the column of each score that is best as printed.

        Scores compete with those of the same column in rows of the same name or, where a row is a
        method, in all rows. One over fewer runs than the others competes with none.
        """
        best = set()
        if not self.ranked:
            return best
        for column in (it for it in self.columns if not it.startswith(CLIP)):
            groups: dict[str, dict[int, float]] = {}
            for index, row in enumerate(self.rows):
                score = row.score(column)
                if score and not self.lacking(score) and "INCOMPLETE" not in row.name:
                    name = "" if self.heading == "method" else row.name
                    groups.setdefault(name, {})[index] = round(score.mean, 1)
            for rivals in groups.values():
                if len(rivals) > 1:
                    most = max(rivals.values())
                    best |= {(i, column) for i, mean in rivals.items() if mean == most}
        return best

    def lacking(self, score: Score) -> str:
        """Return what a score is over fewer of than others of this table, or ""."""
        if score.rows is not None and score.rows[0] < score.rows[1]:
            return f"{score.rows[0]} of {score.rows[1]} datasets"
        seeds = len(self.seeds)
        return f"{len(score.by_seed)} of {seeds} seeds" if len(score.by_seed) < seeds else ""

    def scores(self) -> list[Score]:
        return [cell for row in self.rows for cell in row.cells.values() if isinstance(cell, Score)]


def shots_label(shots: int) -> str:
    return f"{shots} shot{'s' * (shots != 1)}"


def shots_of(column: str) -> int | None:
    """Return the number of shots that a column is named after, None of another column."""
    match = re.fullmatch(r"(\d+) shots?", column)
    return int(match[1]) if match else None
