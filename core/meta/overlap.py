"""Which names of the clusters are also class names of datasets that one evaluates."""

import re
from collections.abc import Iterable
from pathlib import Path

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.registry import DATASETS
from softprompt.core.meta.hierarchy import Hierarchy


def evaluated_names(given: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the class names of datasets that may be evaluated; of variants, once.

    Args:
        given: registered datasets whose names come with the package, or folders that hold a folder
            for each class; (): all the former.

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
    told = [name for name, classnames in known.items() if classnames]
    why = f"is neither a dataset nor a folder{closest(name, told)}"
    if name in known:
        why = "is a dataset that the package does not know the class names of"
    raise UserError(
        f"--evaluated: {name} {why}; it takes a folder that holds a folder for each class, or "
        f"{', '.join(told)}"
    )


def overlap(
    hierarchy: Hierarchy, evaluated: dict[str, tuple[str, ...]], most: int | None = None
) -> str:
    """Say in one line which class names are evaluated, too; case and punctuation do not count.

    Args:
        most: how many names of a dataset are told; None: all.
    """
    own = {_plain(cls.name) for topic in hierarchy.topics for cls in topic.classes}
    shared = {name: own & set(map(_plain, names)) for name, names in evaluated.items()}
    found = []
    for datasets, names in shared.items():
        more = f" and {len(names) - most} more" if most and len(names) > most else ""
        found += [f"{', '.join(sorted(names)[:most])}{more} ({datasets})"] if names else []
    others = [datasets for datasets, names in shared.items() if not names]
    found += [f"none of {', '.join(others)}"] if others else []
    count = len(set().union(*shared.values()))
    return f"{count} of the {len(own)} class names are also classes of datasets: {'; '.join(found)}"


def _plain(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.lower()))
