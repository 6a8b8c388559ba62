"""Few-shot lists on the disk, so that everyone who trains on a draw trains on the same pictures."""

import json
import os
import platform
from contextlib import suppress
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import SPLITS, Dataset, Item
from softprompt.core.data.fewshot import draw_shots, list_sha256

FORMAT = 1


def draw(
    dataset: Dataset, splits: dict[str, list[Item]], shots: int, seed: int
) -> dict[str, list[Item]]:
    """Return ``draw_shots(splits, shots, seed)``, as saved beside the dataset or to be saved there.

    The list is ``ROOT/<dataset>/split_fewshot/shot_K-seed_S-<hash of the split>.json``: paths below
    the picture folder, labels and class names. It is reused only if dataset, split, shots and seed
    agree with it, and replaced otherwise. Nothing is saved, nor said, where that folder cannot be
    written, and for datasets without a folder of their own (generated ones and your own pictures):
    the draw is the same each time. CoOp's pickles in the same folder are never opened.

    Raises:
        UserError: a list for this draw names a picture that the split does not have.
    """
    if shots < 1 or not dataset.folder:
        return draw_shots(splits, shots, seed)
    key = {
        "format": FORMAT,
        "dataset": dataset.folder,
        "split_sha256": split_sha256(splits, dataset.classnames),
        "shots": shots,
        "seed": seed,
    }
    name = f"shot_{shots}-seed_{seed}-{key['split_sha256'][:12]}.json"
    file = dataset.root / dataset.folder / "split_fewshot" / name
    found = _read(file, key)
    if found is not None:
        return splits | _checked(found, splits, dataset.classnames, file)
    drawn = draw_shots(splits, shots, seed)
    _write(file, key, drawn, splits, dataset.classnames)
    return drawn


def split_sha256(splits: dict[str, list[Item]], classnames: tuple[str, ...]) -> str:
    """Return the fingerprint of a split: of its train, val and test lists one after the other."""
    return list_sha256([item for items in splits.values() for item in items], classnames)


def _read(file: Path, key: dict) -> dict[str, list] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.info(f"{file} is no few-shot list ({type(error).__name__}), so it is replaced")
        return None
    if not isinstance(found, dict) or {name: found.get(name) for name in key} != key:
        logger.info(f"{file} is a list of another draw, so it is replaced")
        return None
    lists = {split: found[split] for split in SPLITS if isinstance(found.get(split), list)}
    return lists if "train" in lists else None


def _checked(
    found: dict[str, list],
    splits: dict[str, list[Item]],
    classnames: tuple[str, ...],
    file: Path,
) -> dict[str, list[Item]]:
    lists = {}
    for split, rows in found.items():
        known = {json.dumps(_row(item, classnames)): item for item in splits[split]}
        for row in rows:
            if json.dumps(row) not in known:
                raise UserError(
                    f"{file} lists {row!r}, which is not in the {split} split of the dataset; "
                    "remove the file to draw anew"
                )
        lists[split] = [known[json.dumps(row)] for row in rows]
    return lists


def _write(
    file: Path,
    key: dict,
    drawn: dict[str, list[Item]],
    splits: dict[str, list[Item]],
    classnames: tuple[str, ...],
) -> None:
    """Save what was drawn in one step, so that two runs at once leave a whole file each."""
    rows = {
        split: [_row(item, classnames) for item in items]
        for split, items in drawn.items()
        if items is not splits[split]
    }
    partial = file.with_name(f".{file.name}.{platform.node()}-{os.getpid()}.partial")
    try:
        file.parent.mkdir(exist_ok=True)
        partial.write_text(json.dumps(key | rows, indent=1), encoding="utf-8")
        partial.replace(file)
    except OSError:  # a disk that cannot be written to, or is full
        with suppress(OSError):
            partial.unlink()


def _row(item: Item, classnames: tuple[str, ...]) -> list:
    return [item.path, item.label, classnames[item.label]]
