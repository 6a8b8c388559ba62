"""The images and classes of a run: CoOp's few-shot draw, saved lists of it, base and new classes.

Saved lists let everyone who trains on a draw train on the same pictures.
"""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import write_atomically
from softprompt.core.base.log import logger
from softprompt.core.data.dataset import SPLITS, Dataset, Item, Splits

VAL_SHOTS = 4  # CoOp keeps at most four validation images per class
FORMAT = 1  # of a saved list


def load_or_draw(dataset: Dataset, splits: Splits, shots: int, seed: int) -> Splits:
    """Return ``draw_shots(splits, shots, seed)``, loaded from a list beside the dataset or saved.

    The list is ``ROOT/<dataset>/split_fewshot/shot_K-seed_S-<hash of the split>.json``: paths below
    the picture folder, labels and class names. It is reused only if dataset, split, shots and seed
    agree with it, and replaced otherwise. Where that folder cannot be written, and for datasets
    without a folder of their own (generated ones and your own pictures), nothing is saved or
    logged: the draw is the same each time. CoOp's pickles in the same folder are never opened.

    Args:
        shots: training images per class; below 1: all.

    Raises:
        UserError: a list of this draw names a picture that the split lacks.
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
    saved = _read(file, key)
    if saved is not None:
        return splits | _items(saved, splits, dataset.classnames, file)
    drawn = draw_shots(splits, shots, seed)
    lists = {split: items for split, items in drawn.items() if items is not splits[split]}
    _save(file, key, lists, dataset.classnames)
    return drawn


def draw_shots(splits: Splits, shots: int, seed: int) -> Splits:
    """Return ``splits`` with ``shots`` training images per class, exactly CoOp's for a seed.

    One ``random.Random(seed)`` draws from each class in the order of first appearance, from train,
    then from val (at most ``VAL_SHOTS``); a class with fewer images keeps them all. A val that
    equals test (ImageNet's) stays whole. Base or new classes are chosen afterwards, so both have
    their share of one draw.
    """
    if shots < 1:
        return splits
    generator = random.Random(seed)
    drawn = dict(splits)
    drawn["train"] = _draw(splits["train"], shots, generator)
    if splits.get("val") and splits["val"] != splits.get("test"):
        drawn["val"] = _draw(splits["val"], min(shots, VAL_SHOTS), generator)
    return drawn


def list_sha256(items: Sequence[Item], classnames: Sequence[str]) -> str:
    """Return the fingerprint of a list: sha256 of its lines ``path<TAB>label<TAB>class name``."""
    lines = (f"{item.path}\t{item.label}\t{classnames[item.label]}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def split_sha256(splits: Splits, classnames: Sequence[str]) -> str:
    """Return the fingerprint of a split: of its train, val and test lists one after the other."""
    return list_sha256([item for items in splits.values() for item in items], classnames)


def class_subset(count: int, subset: str) -> range:
    """Return the labels of ``all`` of ``count`` classes, of the ``base`` or of the ``new`` ones.

    The first half, rounded up, is base. ``generalized`` has all labels; its images of base and of
    new classes are scored apart.
    """
    half = math.ceil(count / 2)
    whole = range(count)
    return {"all": whole, "generalized": whole, "base": whole[:half], "new": whole[half:]}[subset]


def choose_classes(items: Sequence[Item], labels: Sequence[int]) -> list[Item]:
    """Return the items of these labels, relabelled from 0 in the order of ``labels``."""
    new = {label: index for index, label in enumerate(labels)}
    return [Item(item.path, new[item.label]) for item in items if item.label in new]


def balanced_sample(items: list[Item], count: int) -> list[Item]:
    """Return ``count`` items spread evenly over the classes, always the same; 0: all items."""
    if not 0 < count < len(items):
        return items
    by_label = _by_label(items)
    generator = random.Random(0)
    queues = [generator.sample(by_label[label], len(by_label[label])) for label in sorted(by_label)]
    chosen: list[Item] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    sample = set(chosen)
    return [item for item in items if item in sample]


def check_every_class(items: list[Item], classnames: Sequence[str], split: str) -> None:
    """Raise ``UserError`` naming the first class without a picture in ``items``."""
    if not items:
        raise UserError(f"the dataset has no picture in the {split} split")
    present = {item.label for item in items}
    for label, name in enumerate(classnames):
        if label not in present:
            raise UserError(f"class {name!r} has no picture in the {split} split")


def _draw(items: list[Item], shots: int, generator: random.Random) -> list[Item]:
    drawn = []
    for group in _by_label(items).values():
        drawn += generator.sample(group, shots) if len(group) >= shots else group
    return drawn


def _by_label(items: list[Item]) -> dict[int, list[Item]]:
    """Return the items of each label, labels in the order of first appearance."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups


def _read(file: Path, key: dict) -> dict[str, list] | None:
    """Return the rows of each split in a saved list, or None if it is none of this draw."""
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.info(f"{file} is no few-shot list ({type(error).__name__}), so it is replaced")
        return None
    if not isinstance(saved, dict) or {name: saved.get(name) for name in key} != key:
        logger.info(f"{file} is a list of another draw, so it is replaced")
        return None
    lists = {split: saved[split] for split in SPLITS if isinstance(saved.get(split), list)}
    return lists if "train" in lists else None


def _save(file: Path, key: dict, lists: Splits, classnames: Sequence[str]) -> None:
    rows = {split: [_row(item, classnames) for item in items] for split, items in lists.items()}
    with suppress(OSError):  # a disk that is full or cannot be written to
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, json.dumps(key | rows, indent=1))


def _items(rows: dict[str, list], splits: Splits, classnames: Sequence[str], file: Path) -> Splits:
    """Return the items of a saved list's rows; ``UserError`` if the split lacks one."""
    lists = {}
    for split, of_split in rows.items():
        known = {json.dumps(_row(item, classnames)): item for item in splits[split]}
        for row in of_split:
            if json.dumps(row) not in known:
                raise UserError(
                    f"{file} lists {row!r}, which is not in the {split} split of the dataset; "
                    "remove the file to draw anew"
                )
        lists[split] = [known[json.dumps(row)] for row in of_split]
    return lists


def _row(item: Item, classnames: Sequence[str]) -> list:
    return [item.path, item.label, classnames[item.label]]
