"""Which pictures and classes a run uses: CoOp's few-shot draw and its base and new classes."""

import math
import random
from collections.abc import Sequence

from softprompt.core.dataset import Item
from softprompt.core.errors import UserError

VAL_SHOTS = 4  # CoOp keeps at most four validation images a class


def draw_shots(
    splits: dict[str, list[Item]], shots: int, seed: int, with_val: bool = True
) -> dict[str, list[Item]]:
    """Return ``splits`` with ``shots`` training images a class, exactly CoOp's for a seed.

    One ``random.Random(seed)`` draws from each class in the order of first appearance, from train,
    then from val (at most ``VAL_SHOTS``); a class with fewer images keeps them all.
    """
    if shots < 1:
        return splits
    generator = random.Random(seed)
    drawn = dict(splits)
    drawn["train"] = _draw(splits["train"], shots, generator)
    if with_val and splits.get("val"):
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


def class_subset(count: int, subset: str) -> range:
    """Return the labels of ``all`` classes, of ``base`` (the first half, rounded up) or ``new``."""
    half = math.ceil(count / 2)
    return {"all": range(count), "base": range(half), "new": range(half, count)}[subset]


def choose_classes(items: Sequence[Item], labels: Sequence[int]) -> list[Item]:
    """Return the items of these labels, relabelled from 0 in their order."""
    new = {label: index for index, label in enumerate(labels)}
    return [Item(item.path, new[item.label]) for item in items if item.label in new]


def balanced_sample(items: list[Item], count: int) -> list[Item]:
    """Return ``count`` items spread as evenly as possible over the classes, always the same ones."""
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
    present = {item.label for item in items}
    for label, name in enumerate(classnames):
        if label not in present:
            raise UserError(f"class {name!r} has no picture in the {split} split")
