"""Find the three levels of clusters, topics, their classes and visual domains, in usable pairs."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from softprompt.core.base.seeding import derive
from softprompt.core.meta.clusters.encode import FEWEST_TOKENS, MOST_TOKENS
from softprompt.core.meta.clusters.features import PairFeatures
from softprompt.core.meta.clusters.hierarchy import (
    KEPT_MEMBERS,
    NamedClass,
    Sizes,
    members_needed,
)
from softprompt.core.meta.clusters.kmeans import assign, margins, spherical_kmeans, unit
from softprompt.core.meta.clusters.names import ClassToName, Namer

MANY = 50_000  # from so many pairs on each caption is used once


def usable_pairs(features: PairFeatures, kept: float) -> tuple[np.ndarray, dict[str, int]]:
    """Return the positions of the pairs to cluster, and the number that each filter left out.

    Of several captions of one picture the best matching stays, so no picture is in two classes.
    Among many pairs a caption stays once too; among fewer it may belong to several pictures.

    Args:
        kept: the share of the remaining pairs, those of the best agreement between picture and
            caption, that the last filter keeps.
    """
    similarity = np.einsum(
        "nd,nd->n", features.image.float().numpy(), features.text.float().numpy()
    )
    tokens = features.tokens.numpy()
    rows = np.arange(len(features))
    dropped = {}

    def keep(reason: str, mask: np.ndarray) -> None:
        nonlocal rows
        dropped[reason] = int((~mask).sum())
        rows = rows[mask]

    keep("unreadable", np.array([bool(features.pictures[row]) for row in rows]))
    fits = (tokens[rows] >= FEWEST_TOKENS) & (tokens[rows] <= MOST_TOKENS)
    keep(f"caption not of {FEWEST_TOKENS} to {MOST_TOKENS} tokens", fits)
    keep("picture again", _best([features.pictures[row] for row in rows], similarity[rows]))
    if len(features) >= MANY:
        keep("caption again", _best([features.captions[row] for row in rows], similarity[rows]))
    if len(rows):
        floor = np.quantile(similarity[rows], 1 - kept)
        keep("picture and caption agree least", similarity[rows] >= floor)
    return rows, dropped


def _best(keys: Sequence[Hashable], scores: np.ndarray) -> np.ndarray:
    """Return a mask of the best of each group of equal keys."""
    best: dict[Hashable, int] = {}
    for position in np.argsort(-scores, kind="stable"):
        best.setdefault(keys[position], position)
    mask = np.zeros(len(keys), bool)
    mask[list(best.values())] = True
    return mask


@dataclass(frozen=True)
class Points:
    """Centred features of the pairs to cluster, ``(n, dim)``, unit length."""

    rows: np.ndarray  # (n,), positions in the pairs
    image: np.ndarray
    text: np.ndarray
    text_mean: np.ndarray  # (dim,)

    @classmethod
    def of(cls, features: PairFeatures, rows: np.ndarray) -> "Points":
        """Subtract the means: else the constant gap between pictures and texts would decide."""
        image, text = (side[rows].float().numpy() for side in (features.image, features.text))
        mean = text.mean(0)
        return cls(rows, unit(image - image.mean(0)), unit(text - mean), mean)


def topics_of(
    points: Points, captions: np.ndarray, sizes: Sizes, namer: Namer, library: str, seed: int
) -> list[list[NamedClass]]:
    """Return the classes of each topic.

    Args:
        captions: of each point.
        library: for k-means.
    """
    both = unit(points.image + points.text)
    topic_of = assign(both, spherical_kmeans(both, sizes.topics, derive(seed, "topics"), library))
    members: list[np.ndarray] = []  # of each class, positions in the points, the clearest first
    topics: list[int] = []  # of each class
    for topic in range(sizes.topics):
        inside = np.flatnonzero(topic_of == topic)
        for group in _classes(points.text[inside], sizes, derive(seed, "classes", topic), library):
            members.append(inside[group])
            topics.append(topic)
    domain_of = _domains(points, members, sizes, derive(seed, "domains"), library)
    kept = [_has_enough(domains, sizes) for domains in domain_of]
    found = []
    for topic in range(sizes.topics):
        here = [index for index, place in enumerate(topics) if place == topic and kept[index]]
        nameless = [_to_name(points, captions, members[index]) for index in here]
        classes = []
        for index, name in zip(here, namer.names(nameless), strict=True):
            if name:
                rows = points.rows[members[index]]
                split = (rows[domain_of[index] == domain] for domain in range(sizes.domains))
                classes.append(NamedClass(name, tuple(tuple(each.tolist()) for each in split)))
        found.append(classes)
    return found


def _classes(text: np.ndarray, sizes: Sizes, seed: int, library: str) -> list[np.ndarray]:
    """Return the clearest members of each class of a topic, as positions in ``text``."""
    if not len(text):
        return []
    centres = spherical_kmeans(text, sizes.classes, seed, library)
    labels, clear = assign(text, centres), margins(text, centres)
    groups = []
    for label in range(len(centres)):
        inside = np.flatnonzero(labels == label)
        order = inside[np.argsort(-clear[inside], kind="stable")]
        if len(order):
            groups.append(order[: math.ceil(KEPT_MEMBERS * len(order))])
    return groups


def _domains(
    points: Points, members: list[np.ndarray], sizes: Sizes, seed: int, library: str
) -> list[np.ndarray]:
    """Return the visual domain of each member of each class.

    The residuals of all classes are clustered together: clusters within one class would separate
    what its pictures show, not how they look.
    """
    residuals = [unit(points.image[m] - points.image[m].mean(0)) for m in members]
    together = np.concatenate(residuals)
    centres = spherical_kmeans(together, sizes.domains, seed, library)
    return [assign(each, centres) for each in residuals]


def _to_name(points: Points, captions: np.ndarray, members: np.ndarray) -> ClassToName:
    text, image = points.text[members], points.image[members]
    nearest = np.argsort(-text @ text.mean(0), kind="stable")
    return ClassToName(captions[members[nearest]].tolist(), unit(text.mean(0) + image.mean(0)))


def _has_enough(domains: np.ndarray, sizes: Sizes) -> bool:
    """Return True if a class has pictures for a support in one domain and queries in another."""
    counts = np.bincount(domains, minlength=sizes.domains)
    shots, queries = members_needed(sizes.shots), members_needed(sizes.queries)
    return any(
        a != b and counts[a] >= shots and counts[b] >= queries
        for a in range(sizes.domains)
        for b in range(sizes.domains)
    )
