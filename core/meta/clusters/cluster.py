"""Cluster captioned pictures, by picture and caption, into topics, classes and visual domains."""

import random
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.base.ranges import CountOrZero, Range
from softprompt.core.base.seeding import derive
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.meta.clusters.features import PairFeatures, hash_of
from softprompt.core.meta.clusters.hierarchy import (
    Hierarchy,
    NamedClass,
    Sizes,
    Topic,
    check_sizes,
    fewest_pairs,
    pairs_needed,
    size_candidates,
    topics_needed,
)
from softprompt.core.meta.clusters.kmeans import LIBRARIES
from softprompt.core.meta.clusters.levels import Points, topics_of, usable_pairs
from softprompt.core.meta.clusters.names import KINDS, Namer
from softprompt.core.meta.tasks import TaskSampler

VERSION = 2  # of the algorithm: clusters of another version are not loaded


def cluster(
    features: PairFeatures,
    clip: FrozenCLIP,
    source: str,
    *,
    topics: CountOrZero = 0,
    classes: CountOrZero = 0,
    domains: CountOrZero = 0,
    ways: CountOrZero = 0,
    shots: CountOrZero = 0,
    queries: CountOrZero = 0,
    kept: Annotated[float, Range(above=0, most=1)] = 0.8,
    held_out: Annotated[float, Range(above=0, most=1)] = 0.1,
    names: Annotated[str, KINDS] = "phrase",
    kmeans: Annotated[str, LIBRARIES] = "sklearn",
    seed: CountOrZero = 1,
) -> Hierarchy:
    """Return topics of named classes in visual domains, with some topics held out.

    Topics cluster picture and caption together; classes cluster the captions of a topic; visual
    domains cluster, over all classes, the difference of a picture from the mean of its class.

    Args:
        topics, classes, domains, ways, shots, queries: the ``Sizes``; 0: chosen by the number of
            pairs, and reduced until tasks can be drawn.
        kept: the share of pairs, those of the best agreement between picture and caption, that is
            clustered.
        held_out: the share of topics, at least one, for meta-validation.
        names: classes are named by a "phrase" of their captions or by the "medoid" caption.
        kmeans: the library, "sklearn" or "faiss".
        seed: of the clustering and of the choice of held-out topics.

    Raises:
        UserError: an option is out of range, or there are too few pairs for any task.
    """
    if names not in KINDS:
        raise UserError(f"classes are named by {names!r}, not {' or '.join(KINDS)}")
    for name, share in (("KEPT", kept), ("HELD_OUT", held_out)):
        if not 0 < share <= 1:
            raise UserError(f"{name} is {share}, but must be a share above 0, at most 1")
    fixed = Sizes(topics, classes, domains, ways, shots, queries)
    check_sizes(fixed)
    rows, dropped = usable_pairs(features, kept)
    if len(rows):
        points = Points.of(features, rows)
        namer = Namer(clip, points.text_mean, names)
        captions = np.array(features.captions, dtype=object)[rows]
        options = asdict(fixed) | dict(
            kept=kept, held_out=held_out, names=names, kmeans=kmeans, seed=seed
        )
        for sizes in size_candidates(len(features), fixed):
            if len(rows) < fewest_pairs(sizes):
                continue
            found = topics_of(points, captions, sizes, namer, kmeans, seed)
            key = clusters_key(features, options)
            split = _hold_out(found, sizes, held_out, seed)
            hierarchy = Hierarchy(source, key, len(features), dropped, sizes, split)
            if _has_tasks(hierarchy, seed):
                return hierarchy
    raise UserError(
        f"no meta-training task can be made from {source}: {len(features)} pairs, {len(rows)} of "
        f"them usable ({_counts(dropped)}); about {pairs_needed(fixed, kept)} pairs are needed"
    )


def clusters_key(features: PairFeatures, options: dict[str, Any]) -> str:
    """Return a hash of everything that clusters depend on: features and ``cluster``'s options."""
    return hash_of(features.key, VERSION, sorted(options.items()))


def _hold_out(
    found: list[list[NamedClass]], sizes: Sizes, share: float, seed: int
) -> tuple[Topic, ...]:
    """Return the topics with classes; a share of those with tasks is held out."""
    able = [
        index for index, classes in enumerate(found) if Topic(tuple(classes), False).has_task(sizes)
    ]
    count = min(max(1, round(share * len(able))), len(able) - 2)
    dice = random.Random(derive(seed, "held out"))
    held_out = set(dice.sample(able, count)) if len(able) >= 3 else set()
    return tuple(Topic(tuple(c), i in held_out) for i, c in enumerate(found) if c)


def _has_tasks(hierarchy: Hierarchy, seed: int) -> bool:
    """Return True if enough topics have tasks, both held-out topics and the others."""
    sizes = hierarchy.sizes
    able = [t for t in hierarchy.topics if t.has_task(sizes)]
    if len(able) < topics_needed(sizes):
        return False
    try:
        for held_out in (False, True):
            TaskSampler(hierarchy, seed=seed, held_out=held_out)
    except UserError:
        return False
    return True


def log_clusters(hierarchy: Hierarchy) -> None:
    """Log the chosen sizes and how many pairs are used, left out and held out."""
    topics, sizes = hierarchy.topics, hierarchy.sizes
    classes = [cls for topic in topics for cls in topic.classes]
    used = sum(len(cls.pairs) for cls in classes)
    usual = next(size_candidates(hierarchy.total, Sizes()))
    logger.info(
        f"clusters of {hierarchy.source}: {sizes}"
        + (f"; where pairs suffice, {usual}" if sizes != usual else "")
    )
    logger.info(
        f"{hierarchy.total} pairs, left out {_counts(hierarchy.dropped)}; {used} are in "
        f"{len(classes)} named classes of {len(topics)} topics, "
        f"{len(hierarchy.split(True))} of these held out for meta-validation"
    )


def _counts(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "none"
