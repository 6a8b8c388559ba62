"""Short names for methods, without what all of them share, and names of columns."""

import re
from collections.abc import Iterable


def method_labels(methods: Iterable[str]) -> tuple[dict[str, str], str]:
    """Return a label for each METHOD/CONFIG[,KEY=VALUE...], and what all of them leave out."""
    methods = list(dict.fromkeys(methods))
    parts = [method.partition(",") for method in methods]
    tags = {tag for _, _, tag in parts}
    left_out = []
    labels = {method: method for method in methods}
    if len(tags) == 1 and tags != {""}:
        labels = {method: name for method, (name, _, _) in zip(methods, parts, strict=True)}
        left_out.append(next(iter(tags)))
    configs = {label.partition("/")[2] for label in labels.values()}
    if len(configs) == 1 and len(set(labels.values())) == len(labels):
        labels = {method: label.partition("/")[0] for method, label in labels.items()}
        left_out.insert(0, f"configs/*/{next(iter(configs))}.yaml")
    return labels, " with ".join(left_out)


def shots_label(shots: int) -> str:
    return f"{shots} shot{'s' * (shots != 1)}"


def shots_of(column: str) -> int | None:
    """Return the number of shots that a column is named for, None of another column."""
    found = re.fullmatch(r"(\d+) shots?", column)
    return int(found[1]) if found else None
