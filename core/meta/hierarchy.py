"""What clustering makes of captioned pictures: topics of named classes, in visual domains."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from softprompt.core.base.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class Sizes:
    """How finely the pairs are clustered and how large a task is."""

    topics: int
    classes: int  # a topic
    domains: int
    ways: int  # classes of a task
    shots: int  # support pictures a class
    queries: int  # pictures a class in each query set


@dataclass(frozen=True)
class NamedClass:
    """Pairs that say the same, by visual domain."""

    name: str
    domains: tuple[tuple[int, ...], ...]  # positions of the pairs, the best of the class first

    @property
    def pairs(self) -> tuple[int, ...]:
        return tuple(pair for domain in self.domains for pair in domain)

    def has(self, a: int, shots: int, b: int, queries: int) -> bool:
        """Whether there are pictures for a support in domain ``a`` and queries in ``b``."""
        if a == b:
            return len(self.domains[a]) >= shots + queries
        return len(self.domains[a]) >= shots and len(self.domains[b]) >= queries


@dataclass(frozen=True)
class Topic:
    """Classes that are easily taken for each other."""

    classes: tuple[NamedClass, ...]
    held_out: bool  # for meta-validation

    def has_task(self, sizes: Sizes) -> bool:
        """Whether enough classes have a support in one domain and queries in another."""
        domains = range(sizes.domains)
        return any(
            a != b
            and sum(cls.has(a, sizes.shots, b, sizes.queries) for cls in self.classes) >= sizes.ways
            for a in domains
            for b in domains
        )


@dataclass(frozen=True)
class Hierarchy:
    """All topics, with the sizes that were chosen and what has been left out."""

    source: str  # what the pairs are, in words
    key: str  # hash of the features and the options that it was made from
    total: int  # pairs in the source
    dropped: dict[str, int]  # number of pairs that each filter has left out
    sizes: Sizes
    topics: tuple[Topic, ...]

    def split(self, held_out: bool) -> list[Topic]:
        return [topic for topic in self.topics if topic.held_out == held_out]

    def save(self, file: Path) -> None:
        """Write it as JSON, at once or not at all."""
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        partial.write_text(json.dumps({"format": FORMAT, **asdict(self)}), encoding="utf-8")
        partial.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Hierarchy":
        """Read what ``save`` has written.

        Raises:
            UserError: there is no such file, or it is another.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found.pop("format") != FORMAT:
                raise ValueError("another format")
            found["sizes"] = Sizes(**found["sizes"])
            found["topics"] = tuple(_topic(topic) for topic in found["topics"])
            return cls(**found)
        except FileNotFoundError:
            raise UserError(f"no such file of clusters: {file}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} holds no clusters that this version reads: {error}") from None


def _topic(found: dict) -> Topic:
    classes = (
        NamedClass(each["name"], tuple(tuple(domain) for domain in each["domains"]))
        for each in found["classes"]
    )
    return Topic(tuple(classes), found["held_out"])
