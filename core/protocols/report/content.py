"""What a report holds, before it is rendered: groups of methods, single runs, costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from softprompt.core.protocols.report.names import Names, relabelled
from softprompt.core.protocols.report.overview import by_dataset, overviews
from softprompt.core.protocols.report.significance import significances
from softprompt.core.protocols.report.table import Table


@dataclass(frozen=True)
class Group:
    """The methods of one protocol, source and number of shots, which are compared."""

    title: str
    tables: list[Table]  # one a method
    names: Names

    @cached_property
    def labels(self) -> dict[str, str]:
        """The label of each method."""
        return self._labelled[0]

    @property
    def omitted(self) -> list[str]:
        """Lines on what the labels omit."""
        return self._labelled[1]

    @cached_property
    def overview(self) -> list[Table]:
        """The table of all methods, if there are several."""
        return overviews(self.tables)

    @cached_property
    def tests(self) -> list[Table]:
        """The table of differences, if there are several methods."""
        return significances(self.tables)

    @property
    def by_dataset(self) -> list[Table]:
        """A table for each metric, of methods and datasets."""
        return by_dataset(self.title, self.tables)

    def short(self, tables: Sequence[Table]) -> list[Table]:
        """Return tables with the labels of this group's methods."""
        return [relabelled(table, self.labels, self.names) for table in tables]

    @cached_property
    def _labelled(self) -> tuple[dict[str, str], list[str]]:
        return self.names.labels(self.tables)


@dataclass(frozen=True)
class Report:
    """All that a report holds, for renderers."""

    groups: list[Group]
    singles: list[Table]
    costs: list[Table]
    names: Names
    left_out: list[str] = field(default_factory=list)  # damaged files, each with what is wrong
    about: list[str] = field(default_factory=list)  # when, by which code and where the runs ran

    @property
    def protocols(self) -> list[Table]:
        return [table for group in self.groups for table in group.tables]

    @property
    def tables(self) -> list[Table]:
        """Every table, with methods' names in full."""
        averages = [table for group in self.groups for table in group.overview]
        tests = [table for group in self.groups for table in group.tests]
        return [*averages, *self.protocols, *self.singles, *tests, *self.costs]

    @property
    def others(self) -> list[Table]:
        """The tables of single runs and of costs, with labels for methods."""
        labels, _ = self.names.labels(self.protocols, compared=False)
        return [relabelled(table, labels, self.names) for table in (*self.singles, *self.costs)]
