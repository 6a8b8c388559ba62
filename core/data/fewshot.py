"""Which pictures and classes a run uses: CoOp's few-shot draw and its base and new classes."""

import hashlib
import math
import random
from collections.abc import Sequence

from softprompt.core.base.errors import UserError
from softprompt.core.data.dataset import Item

VAL_SHOTS = 4  # CoOp keeps at most four validation images a class


def draw_shots(splits: dict[str, list[Item]], shots: int, seed: int) -> dict[str, list[Item]]:
    """Return ``splits`` with ``shots`` training images a class, exactly CoOp's for a seed.

    One ``random.Random(seed)`` draws from each class in the order of first appearance, from train,
    then from val (at most ``VAL_SHOTS``); a class with fewer images keeps them all. A val that is
    the test set (ImageNet's) stays whole. Base or new classes are chosen afterwards, so both have
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


def _draw(items: list[Item], shots: int, generator: random.Random) -> list[Item]:
    by_label: dict[int, list[Item]] = {}
    for item in items:
        by_label.setdefault(item.label, []).append(item)
    drawn = []
    for group in by_label.values():
        drawn += generator.sample(group, shots) if len(group) >= shots else group
    return drawn


def list_sha256(items: Sequence[Item], classnames: Sequence[str]) -> str:
    """Return the fingerprint of a list: sha256 of its lines ``path<TAB>label<TAB>class name``."""
    lines = (f"{item.path}\t{item.label}\t{classnames[item.label]}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def class_subset(count: int, subset: str) -> range:
    """Return the labels of ``all`` classes, of ``base`` (the first half, rounded up) or ``new``.

    ``generalized`` has the labels of all; its images of base and of new classes are scored apart.
    """
    half = math.ceil(count / 2)
    whole = range(count)
    return {"all": whole, "generalized": whole, "base": whole[:half], "new": whole[half:]}[subset]


def choose_classes(items: Sequence[Item], labels: Sequence[int]) -> list[Item]:
    """Return the items of these labels, relabelled from 0 in their order."""
    new = {label: index for index, label in enumerate(labels)}
    return [Item(item.path, new[item.label]) for item in items if item.label in new]


def balanced_sample(items: list[Item], count: int) -> list[Item]:
    """Return ``count`` items spread evenly over the classes, always the same ones."""
    if not 0 < count < len(items):
        return items
    by_label: dict[int, list[Item]] = {}
    for item in items:
        by_label.setdefault(item.label, []).append(item)
    generator = random.Random(0)
    queues = [generator.sample(by_label[label], len(by_label[label])) for label in sorted(by_label)]
    chosen: list[Item] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    kept = set(chosen)
    return [item for item in items if item in kept]


def check_every_class(items: list[Item], classnames: Sequence[str], split: str) -> None:
    """Raise ``UserError`` naming the first class without a picture in ``items``."""
    if not items:
        raise UserError(f"the dataset has no picture in the {split} split")
    present = {item.label for item in items}
    for label, name in enumerate(classnames):
        if label not in present:
            raise UserError(f"class {name!r} has no picture in the {split} split")
