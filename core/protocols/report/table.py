"""What a report is made of: tables as plain data, which renderers turn into text and pages."""

from dataclasses import dataclass, field
from functools import cached_property

from softprompt.core.protocols.report.scores import Score

Cell = Score | float | int | str | None


@dataclass(frozen=True)
class Row:
    """A row by its name."""

    name: str
    cells: dict[str, Cell]
    average: bool = False


@dataclass(frozen=True)
class Table:
    """A table, what its rows are, and what a reader of its numbers must know."""

    kind: str  # a protocol, or overview, significance, cost
    title: str
    heading: str  # of the column of row names
    columns: tuple[str, ...]
    rows: list[Row]
    remarks: list[str] = field(default_factory=list)
    method: str = ""  # METHOD/CONFIG of a protocol's table
    source: str = ""  # the dataset that a transfer starts from
    shots: int | None = None  # None: a column for each
    formats: dict[str, str] = field(default_factory=dict)  # of numbers, by column; else ".1f"

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({seed for score in self.scores() for seed in score.by_seed})

    @property
    def sources(self) -> list[str]:
        """Where the published numbers beside its own come from."""
        found = [score.published for score in self.scores() if score.published]
        return list(dict.fromkeys(f"{item.method}: {item.source}" for item in found))

    @property
    def incomplete(self) -> bool:
        return any(remark.startswith("INCOMPLETE") for remark in self.remarks)

    @property
    def datasets(self) -> list[str]:
        """Its rows but for the average, and but for the source of transfers."""
        rows = [row.name for row in self.rows if not row.average]
        return [name for name in rows if not name.endswith(" (source)")] or rows

    def lacking(self, score: Score) -> str:
        """Say what a score is over fewer of than others of this table, or nothing."""
        if score.rows is not None and score.rows[0] < score.rows[1]:
            return f"{score.rows[0]} of {score.rows[1]} datasets"
        seeds = len(self.seeds)
        return f"{len(score.by_seed)} of {seeds} seeds" if len(score.by_seed) < seeds else ""

    def scores(self) -> list[Score]:
        return [cell for row in self.rows for cell in row.cells.values() if isinstance(cell, Score)]
