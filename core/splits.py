"""CoOp's split files: ``{"train": [[path, label, class name], ...], "val": ..., "test": ...}``."""

import json
from pathlib import Path

from softprompt.core.dataset import Item
from softprompt.core.errors import UserError


def read_split(file: Path) -> tuple[tuple[str, ...], dict[str, list[Item]]]:
    """Return the class names by label and the items of each split, in the file's order.

    Raises:
        UserError: the file is missing, no such JSON, or gives one label two names.
    """
    if not file.is_file():
        raise UserError(
            f"no split file {file}; it fixes which pictures are train, val and test, and no other "
            "split is comparable with published numbers"
        )
    try:
        tables = json.loads(file.read_text(encoding="utf-8"))
        splits = {
            name: [Item(path, int(label)) for path, label, _ in tables[name]]
            for name in ("train", "val", "test")
        }
        names = {(int(label), name) for rows in tables.values() for _, label, name in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is no split file of CoOp's form, lists [path, label, class name] under train, "
            f"val and test: {type(error).__name__}: {error}"
        ) from None
    labels = sorted(label for label, _ in names)
    if labels != list(range(len(labels))):
        raise UserError(
            f"{file}: the labels are not 0 to {len(set(labels)) - 1} with one class name each"
        )
    return tuple(name for _, name in sorted(names)), splits
