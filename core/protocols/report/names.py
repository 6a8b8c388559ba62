"""Short names of methods, and names of the user's own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from softprompt.core.base.errors import UserError, closest
from softprompt.core.engine.results import ZERO_SHOT
from softprompt.core.protocols.report.table import Row, Table

LONGEST = 48  # characters of a method's name; a longer one is numbered
NEXT_SETTING = re.compile(r",(?=(?:[A-Z0-9_]+\.)*[A-Z0-9_]+=)")


def method_labels(methods: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return a short label for each METHOD/CONFIG[,KEY=VALUE...], and what the labels omit.

    What is omitted is a line on what all methods have in common, and one for each label that is
    numbered since its settings are too long.
    """
    methods = list(dict.fromkeys(methods))
    parts = {method: NEXT_SETTING.split(method) for method in methods}
    first = next(iter(parts.values()), [""])
    common = [setting for setting in first[1:] if all(setting in it for it in parts.values())]
    labels = {
        method: ",".join([name, *(it for it in settings if it not in common)])
        for method, (name, *settings) in parts.items()
    }
    omitted = [_spelt(common)] if common else []
    configs = {label.partition("/")[2] for label in labels.values()}
    if len(methods) > 1 and len(configs) == 1 and len(set(labels.values())) == len(labels):
        labels = {method: label.partition("/")[0] for method, label in labels.items()}
        omitted.insert(0, f"configs/*/{next(iter(configs))}.yaml")
    lines = [f"All methods: {' with '.join(omitted)}"] if omitted else []
    for method, label in labels.items():
        name, *settings = NEXT_SETTING.split(label)
        if settings and len(label) > LONGEST:
            labels[method] = f"{name} #{1 + sum(' #' in each for each in labels.values())}"
            lines.append(f"{labels[method]}: {_spelt(settings)}")
    return labels, lines


def _spelt(settings: Iterable[str]) -> str:
    """Return KEY=VALUE pairs as a command line has them."""
    return " ".join(setting.replace("=", " ", 1) for setting in settings)


class Names:
    """Names that the user gives to methods and datasets."""

    def __init__(self, given: Sequence[str] = ()):
        """Read ``OLD=NEW``, each of which may be used once or more.

        Raises:
            UserError: one has another form.
        """
        self.given: dict[str, str] = {}
        for pair in given:
            old, equals, new = pair.rpartition("=")  # settings within a method's name have some
            if not (equals and old.strip() and new.strip()):
                raise UserError(f"--name takes OLD=NEW, such as coop=CoOp, not {pair!r}")
            self.given[old.strip()] = new.strip()

    def labels(
        self, tables: Sequence[Table], *, compared: bool = True
    ) -> tuple[dict[str, str], list[str]]:
        """Return the labels of the methods of some tables, and what the labels omit.

        Args:
            compared: the tables are of one protocol, so that no two methods may have one name.

        Raises:
            UserError: two methods that are compared would have the same name.
        """
        labels, omitted = method_labels(it.method for it in tables if not it.untrained)
        own = {method: self._own(method, label) for method, label in labels.items()}
        for name in set(own.values()) if compared else ():
            twins = [method for method in own if own[method] == name]
            if len(twins) > 1:
                raise UserError(f"--name: {' and '.join(twins)} would both be called {name!r}")
        omitted = [_replaced(line, {labels[it]: own[it] for it in own}) for line in omitted]
        return own | {it.method: self.of(ZERO_SHOT) for it in tables if it.untrained}, omitted

    def of(self, name: str) -> str:
        """Return the name to print of a dataset or of zero-shot CLIP."""
        return self.given.get(name, name)

    def check(self, methods: Iterable[str], others: Iterable[str]) -> None:
        """Check that each name is of something in the report.

        Args:
            methods: METHOD/CONFIG of the methods and their labels.
            others: names of datasets.

        Raises:
            UserError: one is not.
        """
        known = {ZERO_SHOT, *others}
        for method in methods:
            known |= {method, NEXT_SETTING.split(method)[0], method.partition("/")[0]}
        for old in self.given:
            if old not in known:
                shown = ", ".join(sorted(name for name in known if len(name) <= LONGEST))
                raise UserError(
                    f"--name {old}: no method or dataset is called so{closest(old, known)} "
                    f"(there are {shown})"
                )

    def _own(self, method: str, label: str) -> str:
        config = NEXT_SETTING.split(method)[0]
        for name in (method, label, config, method.partition("/")[0]):
            if name in self.given:
                return self.given[name]
        return label


def relabelled(table: Table, labels: Mapping[str, str], names: Names) -> Table:
    """Return the table with labels for methods, and the user's names for datasets."""
    rows = []
    for row in table.rows:
        cells = {
            names.of(key): names.of(_replaced(cell, labels)) if isinstance(cell, str) else cell
            for key, cell in row.cells.items()
        }
        rows.append(Row(_replaced(_named(row.name, names), labels), cells, row.average))
    return replace(
        table,
        title=_replaced(table.title, labels),
        columns=tuple(names.of(column) for column in table.columns),
        rows=rows,
        remarks=[_replaced(remark, labels) for remark in table.remarks],
    )


def _named(row: str, names: Names) -> str:
    """Return a row's name, a dataset's or zero-shot CLIP's, which may have a remark behind it."""
    name, bracket, remark = row.partition(" (")
    return f"{names.of(name)}{bracket}{remark}"


def _replaced(text: str, labels: Mapping[str, str]) -> str:
    """Return a text with the labels of all methods in it; one method's name may hold another's."""
    if not labels:
        return text
    longest_first = sorted(labels, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return re.sub(rf"(?<![\w/.])(?:{pattern})(?![\w/])", lambda found: labels[found[0]], text)
