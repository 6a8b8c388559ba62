"""The clusters of captioned pictures, topics of named classes in domains, and their sizes."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import write_atomically, writing_to
from softprompt.core.base.formats import check_format, check_shape

FORMAT = 1
SHAPE = {
    "source": str,
    "key": str,
    "total": int,
    "dropped": dict,
    "sizes": {name: int for name in ("topics", "classes", "domains", "ways", "shots", "queries")},
    "topics": list,
}
KEPT_MEMBERS = 0.6  # share of a class's pairs, the clearest, that stay in it


@dataclass(frozen=True)
class Sizes:
    """The granularity of the clusters and the size of a task; 0: not chosen yet."""

    topics: int = 0
    classes: int = 0  # of a topic
    domains: int = 0
    ways: int = 0  # classes of a task
    shots: int = 0  # support pictures of a class
    queries: int = 0  # pictures of a class in each query set

    def __str__(self) -> str:
        return (
            f"{self.topics} topics of {self.classes} classes in {self.domains} visual domains, "
            f"tasks of {self.ways} classes with {self.shots} + {self.queries} pictures"
        )


# Tried in turn where the rule's sizes leave no tasks, as they do below 50,000 pairs.
SMALLER = (
    Sizes(16, 8, 4, 8, 4, 4),
    Sizes(12, 8, 4, 6, 4, 4),
    Sizes(8, 8, 4, 5, 4, 4),
    Sizes(6, 6, 4, 5, 4, 4),
    Sizes(5, 6, 3, 4, 4, 4),
    Sizes(4, 5, 3, 4, 4, 4),
    Sizes(4, 5, 2, 3, 3, 3),
    Sizes(3, 5, 2, 3, 2, 2),
    Sizes(3, 4, 2, 2, 2, 2),
    Sizes(3, 3, 2, 2, 1, 1),
)
LEAST = Sizes(topics=3, classes=2, domains=2, ways=2, shots=1, queries=1)


@dataclass(frozen=True)
class NamedClass:
    """Pairs of the same meaning, by visual domain."""

    name: str
    domains: tuple[tuple[int, ...], ...]  # positions of the pairs, the best of the class first

    @property
    def pairs(self) -> tuple[int, ...]:
        return tuple(pair for domain in self.domains for pair in domain)

    def has(self, a: int, shots: int, b: int, queries: int) -> bool:
        """Return True if there are pictures for a support in domain ``a`` and queries in ``b``."""
        if a == b:
            return len(self.domains[a]) >= shots + queries
        return len(self.domains[a]) >= shots and len(self.domains[b]) >= queries


@dataclass(frozen=True)
class Topic:
    """Classes that are easily confused."""

    classes: tuple[NamedClass, ...]
    held_out: bool  # for meta-validation

    def has_task(self, sizes: Sizes) -> bool:
        """Return True if enough classes have a support in one domain and queries in another."""
        domains = range(sizes.domains)
        return any(
            a != b
            and sum(cls.has(a, sizes.shots, b, sizes.queries) for cls in self.classes) >= sizes.ways
            for a in domains
            for b in domains
        )


@dataclass(frozen=True)
class Hierarchy:
    """All topics, the sizes that were chosen, and the counts of unused pairs."""

    source: str  # the name of the pairs
    key: str  # hash of the features and the options of clustering
    total: int  # pairs in the source
    dropped: dict[str, int]  # number of pairs that each filter has left out
    sizes: Sizes
    topics: tuple[Topic, ...]

    def split(self, held_out: bool) -> list[Topic]:
        """Return the held-out topics, or the others."""
        return [topic for topic in self.topics if topic.held_out == held_out]

    def save(self, file: Path) -> None:
        """Write it as JSON, atomically; ``UserError`` if it cannot be written."""
        with writing_to(file):
            write_atomically(file, json.dumps({"format": FORMAT, **asdict(self)}))

    @classmethod
    def load(cls, file: Path) -> "Hierarchy":
        """Read a file of ``save``.

        Raises:
            UserError: there is no such file, it is damaged, or a newer version has written it.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"no such file of clusters: {file}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{file} holds no clusters: {error}") from None
        check_shape(file, found, {"format": object})
        check_format(file, found.pop("format"), FORMAT)
        check_shape(file, found, SHAPE)
        try:
            found["sizes"] = Sizes(**found["sizes"])
            found["topics"] = tuple(_topic(topic, found["total"]) for topic in found["topics"])
            return cls(**found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} is damaged: {type(error).__name__}: {error}") from None


def _topic(found: dict, pairs: int) -> Topic:
    """Return a topic; ``ValueError`` if it holds another pair than one of so many."""
    classes = []
    for each in found["classes"]:
        one = NamedClass(str(each["name"]), tuple(tuple(domain) for domain in each["domains"]))
        strange = [pair for pair in one.pairs if type(pair) is not int or not 0 <= pair < pairs]
        if strange:
            raise ValueError(f"the pair {strange[0]!r} of {pairs}")
        classes.append(one)
    return Topic(tuple(classes), bool(found["held_out"]))


def check_sizes(fixed: Sizes) -> None:
    """Check the sizes that the user has set; 0 leaves one to the rule.

    Raises:
        UserError: a size leaves no tasks.
    """
    for name, least in asdict(LEAST).items():
        if 0 != getattr(fixed, name) < least:
            raise UserError(
                f"{name.upper()} is {getattr(fixed, name)}, but must be at least {least}"
            )
    if 0 < fixed.classes < fixed.ways:
        raise UserError(f"WAYS is {fixed.ways}, more than the {fixed.classes} CLASSES of a topic")


def size_candidates(pairs: int, fixed: Sizes) -> Iterator[Sizes]:
    """Yield sizes from the rule's to the smallest; ``fixed`` holds those that the user has set."""
    rule = Sizes(min(max(round(pairs / 5000), 20), 500), 10, 4, 10, 4, 4)
    given = {name: value for name, value in asdict(fixed).items() if value}
    tried = set()
    for sizes in (rule, *SMALLER):
        sizes = replace(sizes, **given)
        if not fixed.classes:
            sizes = replace(sizes, classes=max(sizes.classes, sizes.ways))
        if sizes not in tried:
            tried.add(sizes)
            yield sizes


def members_needed(count: int) -> int:
    """Return how many pictures a class needs in a domain for tasks that draw ``count`` of them."""
    return count + min(count, 4)


def topics_needed(sizes: Sizes) -> float:
    """Return how many topics must have tasks: two and one held out, and half of all."""
    return max(3, sizes.topics / 2)


def fewest_pairs(sizes: Sizes) -> float:
    """Return a number of pairs below which no clusters have tasks of these sizes."""
    members = members_needed(sizes.shots) + members_needed(sizes.queries)
    # Of the pairs in a class this share, rounded up, stays in it.
    return topics_needed(sizes) * sizes.ways * (members - 1) / KEPT_MEMBERS


def pairs_needed(fixed: Sizes, kept: float) -> int:
    """Return roughly how many pairs the smallest sizes need: twice as many as even clusters would.

    Args:
        kept: the share of pairs that is clustered.
    """
    *_, least = size_candidates(0, fixed)
    cells = least.topics * least.classes * least.domains
    members = cells * members_needed(max(least.shots, least.queries))
    return 10 * round(2 * members / (kept * KEPT_MEMBERS) / 10)
