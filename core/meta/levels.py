"""The three levels of the clusters: topics, their classes, and visual domains."""

import math
from dataclasses import dataclass

import numpy as np

from softprompt.core.base.seeding import derive
from softprompt.core.meta.features import PairFeatures
from softprompt.core.meta.hierarchy import NamedClass, Sizes
from softprompt.core.meta.kmeans import assign, margins, spherical_kmeans, unit
from softprompt.core.meta.names import ClassToName, Namer
from softprompt.core.meta.sizes import KEPT_MEMBERS, members_needed


@dataclass(frozen=True)
class Points:
    """Centred features of the pairs that are clustered, ``(n, dim)``, unit length."""

    rows: np.ndarray  # (n,), positions in the pairs
    image: np.ndarray
    text: np.ndarray
    text_mean: np.ndarray  # (dim,)

    @classmethod
    def of(cls, features: PairFeatures, rows: np.ndarray) -> "Points":
        """Without the means the constant gap between pictures and texts would decide."""
        image, text = (side[rows].float().numpy() for side in (features.image, features.text))
        mean = text.mean(0)
        return cls(rows, unit(image - image.mean(0)), unit(text - mean), mean)


def topics_of(
    points: Points, captions: np.ndarray, sizes: Sizes, namer: Namer, library: str, seed: int
) -> list[list[NamedClass]]:
    """Return the classes of each topic.

    Args:
        captions: of each point.
        library: that does k-means.
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
        nameless = [_described(points, captions, members[index]) for index in here]
        classes = []
        for index, name in zip(here, namer.names(nameless), strict=True):
            if name:
                rows = points.rows[members[index]]
                split = (rows[domain_of[index] == domain] for domain in range(sizes.domains))
                classes.append(NamedClass(name, tuple(tuple(each.tolist()) for each in split)))
        found.append(classes)
    return found


def _classes(text: np.ndarray, sizes: Sizes, seed: int, library: str) -> list[np.ndarray]:
    """Return the clearest members of each class of a topic, positions in ``text``."""
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

    Residuals are clustered over all classes at once: within one class the clusters would be of
    what is shown, not of how.
    """
    residuals = [unit(points.image[m] - points.image[m].mean(0)) for m in members]
    together = np.concatenate(residuals)
    centres = spherical_kmeans(together, sizes.domains, seed, library)
    return [assign(each, centres) for each in residuals]


def _described(points: Points, captions: np.ndarray, members: np.ndarray) -> ClassToName:
    text, image = points.text[members], points.image[members]
    nearest = np.argsort(-text @ text.mean(0), kind="stable")
    return ClassToName(captions[members[nearest]].tolist(), unit(text.mean(0) + image.mean(0)))


def _has_enough(domains: np.ndarray, sizes: Sizes) -> bool:
    """Whether a class has enough pictures for a support in one domain, for queries in another."""
    counts = np.bincount(domains, minlength=sizes.domains)
    shots, queries = members_needed(sizes.shots), members_needed(sizes.queries)
    return any(
        a != b and counts[a] >= shots and counts[b] >= queries
        for a in range(sizes.domains)
        for b in range(sizes.domains)
    )
