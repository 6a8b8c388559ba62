"""Cross-modal hierarchical clustering of captioned pictures into topics, classes and domains."""

import math
import random
from dataclasses import dataclass

import numpy as np

from softprompt.core.clip import FrozenCLIP
from softprompt.core.errors import UserError
from softprompt.core.gram import names as naming
from softprompt.core.gram.features import PairFeatures, hash_of
from softprompt.core.gram.hierarchy import Hierarchy, NamedClass, Sizes, Topic
from softprompt.core.gram.kmeans import assign, margins, spherical_kmeans, unit
from softprompt.core.gram.sizes import (
    KEPT_MEMBERS,
    candidates,
    described,
    members_needed,
    pairs_needed,
)
from softprompt.core.gram.tasks import TaskSampler
from softprompt.core.gram.usable import usable_pairs
from softprompt.core.log import logger
from softprompt.core.seeding import derive
from softprompt.core.templates import PLAIN

VERSION = 1  # of the algorithm: files of another one are not used
HELD_OUT = 0.1  # of the topics, for meta-validation
NAMES = ("phrase", "medoid")
MEDOID_WORDS = 8  # of a caption that serves as a name


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


def cluster(
    features: PairFeatures,
    clip: FrozenCLIP,
    source: str,
    *,
    topics: int = 0,
    classes: int = 0,
    domains: int = 0,
    ways: int = 0,
    shots: int = 0,
    queries: int = 0,
    names: str = "phrase",
    kmeans: str = "sklearn",
    seed: int = 1,
) -> Hierarchy:
    """Return topics of named classes in visual domains, a tenth of the topics held out.

    Topics are clusters of picture and caption together; classes, within a topic, of captions; the
    visual domains, over all classes, of what a picture has beyond the mean of its class.

    Args:
        topics, classes, domains, ways, shots, queries: the ``Sizes``; 0: chosen by the number of
            pairs, and reduced until tasks can be made.
        names: classes are named by a "phrase" of their captions or by the "medoid" caption.
        kmeans: the library, "sklearn" or "faiss".

    Raises:
        UserError: too few pairs for any task.
    """
    if names not in NAMES:
        raise UserError(f"classes are named by {names!r}, not {' or '.join(NAMES)}")
    fixed = {
        "topics": topics,
        "classes": classes,
        "domains": domains,
        "ways": ways,
        "shots": shots,
        "queries": queries,
    }
    rows, dropped = usable_pairs(features)
    if len(rows):
        points = Points.of(features, rows)
        namer = _Namer(clip, points, features.captions, names)
        for tried, sizes in enumerate(candidates(len(features), fixed)):
            found = _hierarchy(points, sizes, namer, kmeans, seed)
            hierarchy = Hierarchy(
                source,
                hierarchy_key(features, fixed | {"names": names, "kmeans": kmeans, "seed": seed}),
                len(features),
                dropped,
                sizes,
                _hold_out(found, sizes, seed),
            )
            if _makes_tasks(hierarchy, seed):
                _log(hierarchy, reduced=tried > 0)
                return hierarchy
    raise UserError(
        f"no meta-training task can be made from {source}: {len(features)} pairs, {len(rows)} of "
        f"them usable ({_counts(dropped)}); about {pairs_needed(fixed)} pairs are needed"
    )


def hierarchy_key(features: PairFeatures, options: dict) -> str:
    return hash_of(features.key, VERSION, sorted(options.items()))


def _hierarchy(
    points: Points, sizes: Sizes, namer: "_Namer", library: str, seed: int
) -> list[list[NamedClass]]:
    """Return the classes of each topic."""
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
        classes = []
        for index, name in zip(here, namer.names([members[i] for i in here]), strict=True):
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


def _has_enough(domains: np.ndarray, sizes: Sizes) -> bool:
    """Whether a class has enough pictures for a support in one domain, for queries in another."""
    counts = np.bincount(domains, minlength=sizes.domains)
    shots, queries = members_needed(sizes.shots), members_needed(sizes.queries)
    return any(
        a != b and counts[a] >= shots and counts[b] >= queries
        for a in range(sizes.domains)
        for b in range(sizes.domains)
    )


class _Namer:
    """Names classes by their captions, each encoded phrase once."""

    def __init__(self, clip: FrozenCLIP, points: Points, captions: list[str], kind: str):
        self.clip = clip
        self.points = points
        self.captions = captions
        self.kind = kind
        self.known: dict[str, np.ndarray] = {}

    def names(self, classes: list[np.ndarray]) -> list[str]:
        """Return a name for each class of a topic, "" for one that has none of its own."""
        captions = [[self.captions[row] for row in self.points.rows[m]] for m in classes]
        if self.kind == "medoid":
            options = [self._central(m) for m in classes]
        else:
            options = naming.candidates(captions)
        scores = []
        for members, phrases in zip(classes, options, strict=True):
            text, image = (side[members].mean(0) for side in (self.points.text, self.points.image))
            scores.append(self._encoded(phrases) @ unit(text + image))
        return naming.choose(options, scores)

    def _central(self, members: np.ndarray) -> list[str]:
        """The captions nearest to the class's mean, the first words of each."""
        text = self.points.text[members]
        nearest = members[np.argsort(-text @ text.mean(0), kind="stable")]
        rows = self.points.rows[nearest[: naming.CANDIDATES]]
        words = (" ".join(self.captions[row].split()[:MEDOID_WORDS]).strip(" .") for row in rows)
        return list(dict.fromkeys(words))[:1]

    def _encoded(self, phrases: list[str]) -> np.ndarray:
        """Centred features of phrases, ``(phrases, dim)``, of unit length."""
        missing = [phrase for phrase in phrases if phrase not in self.known]
        if missing:
            features = unit(self.clip.encode_in_chunks(missing, PLAIN).cpu().float().numpy())
            self.known.update(zip(missing, unit(features - self.points.text_mean), strict=True))
        dim = len(self.points.text_mean)
        return np.array([self.known[phrase] for phrase in phrases]).reshape(-1, dim)


def _hold_out(found: list[list[NamedClass]], sizes: Sizes, seed: int) -> tuple[Topic, ...]:
    """Return the topics that have classes, a tenth of those with tasks held out."""
    able = [index for index, classes in enumerate(found) if _has_task(classes, sizes)]
    count = max(1, round(HELD_OUT * len(able)))
    dice = random.Random(derive(seed, "held out"))
    held_out = set(dice.sample(able, count)) if len(able) >= 3 else set()
    return tuple(Topic(tuple(c), i in held_out) for i, c in enumerate(found) if c)


def _has_task(classes: list[NamedClass], sizes: Sizes) -> bool:
    domains = range(sizes.domains)
    return any(
        sum(
            len(c.domains[a]) >= sizes.shots and len(c.domains[b]) >= sizes.queries for c in classes
        )
        >= sizes.ways
        for a in domains
        for b in domains
        if a != b
    )


def _makes_tasks(hierarchy: Hierarchy, seed: int) -> bool:
    """Whether enough topics have tasks: two and one held out, and half of all that there are."""
    sizes = hierarchy.sizes
    able = [t for t in hierarchy.topics if _has_task(t.classes, sizes)]
    if len(able) < max(3, sizes.topics / 2):
        return False
    options = {"ways": sizes.ways, "shots": sizes.shots, "queries": sizes.queries, "seed": seed}
    try:
        for held_out in (False, True):
            TaskSampler(hierarchy, **options, held_out=held_out)
    except UserError:
        return False
    return True


def _log(hierarchy: Hierarchy, reduced: bool) -> None:
    topics = hierarchy.topics
    classes = [cls for topic in topics for cls in topic.classes]
    used = sum(len(cls.pairs) for cls in classes)
    logger.info(
        f"clusters of {hierarchy.source}: {described(hierarchy.sizes)}"
        + (" (reduced: fewer pairs than the default sizes need)" if reduced else "")
    )
    logger.info(
        f"{hierarchy.total} pairs, left out {_counts(hierarchy.dropped)}; {used} are in "
        f"{len(classes)} named classes of {len(topics)} topics, "
        f"{len(hierarchy.split(True))} of these held out for meta-validation"
    )


def _counts(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "none"
