"""Find the class names that the clusters share with datasets that may be evaluated."""

import re
from collections.abc import Iterable
from pathlib import Path

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.registry import DATASETS
from softprompt.core.meta.clusters.hierarchy import Hierarchy


def evaluated_names(given: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the class names of datasets that may be evaluated; variants share one entry.

    Args:
        given: registered datasets whose class names the package contains, or folders with a folder
            for each class; (): all such datasets.

    Raises:
        UserError: one is neither.
    """
    import_built_in()
    found: dict[tuple[str, ...], list[str]] = {}
    for name in given or DATASETS.names():
        classnames = _classnames(name) if given else DATASETS[name].known_classnames()
        found.setdefault(classnames, []).append(name)
    return {", ".join(names): classnames for classnames, names in found.items() if classnames}


def _classnames(name: str) -> tuple[str, ...]:
    known = {name: DATASETS[name].known_classnames() for name in DATASETS.names()}
    if known.get(name):
        return known[name]
    if Path(name).expanduser().is_dir():
        return DATASETS["folder"](".", path=name).classnames
    named = [name for name, classnames in known.items() if classnames]
    why = f"is neither a dataset nor a folder{closest(name, named)}"
    if name in known:
        why = "is a dataset that the package does not know the class names of"
    raise UserError(
        f"--evaluated: {name} {why}; it takes a folder that holds a folder for each class, or "
        f"{', '.join(named)}"
    )


def overlap(
    hierarchy: Hierarchy, evaluated: dict[str, tuple[str, ...]], most: int | None = None
) -> str:
    """Describe in one line the class names that are evaluated, too, ignoring case and punctuation.

    Args:
        evaluated: class names by dataset, as ``evaluated_names`` returns them.
        most: list at most so many names of a dataset; None: all.
    """
    own = {_normalized(cls.name) for topic in hierarchy.topics for cls in topic.classes}
    shared = {name: own & set(map(_normalized, names)) for name, names in evaluated.items()}
    found = []
    for datasets, names in shared.items():
        more = f" and {len(names) - most} more" if most and len(names) > most else ""
        found += [f"{', '.join(sorted(names)[:most])}{more} ({datasets})"] if names else []
    others = [datasets for datasets, names in shared.items() if not names]
    found += [f"none of {', '.join(others)}"] if others else []
    count = len(set[str]().union(*shared.values()))
    return f"{count} of the {len(own)} class names are also classes of datasets: {'; '.join(found)}"


def _normalized(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.lower()))
