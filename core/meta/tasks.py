"""Draw few-shot tasks for meta-training from clustered pairs."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

from softprompt.core.base.errors import UserError
from softprompt.core.base.seeding import derive
from softprompt.core.meta.clusters.hierarchy import Hierarchy, NamedClass

KINDS = ("clustered", "flat", "random")
COARSE = 0.3  # share of tasks with one class from each of several topics
ATTEMPTS = 100  # a draw fails where no classes are left that fit those drawn already
Pool = tuple[int, ...]  # the pictures of a class that may be drawn
Place = tuple[int | None, int, int]  # topic, None for one class from each of several; two domains


@dataclass(frozen=True)
class TaskPart:
    """Labelled pictures of a task, and the names of their classes."""

    pairs: tuple[int, ...]  # positions in the captioned pairs
    labels: tuple[int, ...]  # of each pair, below len(classnames)
    classnames: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A support set and two query sets; no picture is in two of them."""

    support: TaskPart
    query_same: TaskPart  # Q_A: the same classes in another domain
    query_other: TaskPart  # Q_B: other classes, in a domain that is not the support's


class TaskSampler:
    """Draw tasks of the hierarchy's sizes; task ``index`` depends on seed and index alone.

    Most tasks have classes of one topic, 30% one class from each of several. The support is of one
    visual domain, the queries of the same classes of another one. The other classes come from a
    topic without support classes, as long as there is one. Names are unique within a task.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        *,
        seed: int,
        held_out: bool = False,
        kind: str = "clustered",
        same_domain: bool = False,
    ):
        """List the topics and domains that tasks can be drawn from.

        Args:
            held_out: draw from the held-out topics instead of the others. If there is a single
                one, the other classes come from the topics that are trained on.
            kind: "clustered"; or a control: "flat" takes any classes in any domains, "random" any
                pictures at all, and names each class as one of its pictures.
            same_domain: a control: support and queries are of one domain.

        Raises:
            UserError: no task of this size can be drawn.
        """
        if kind not in KINDS:
            raise UserError(f"tasks are {kind!r}, not {', '.join(KINDS)}")
        sizes = hierarchy.sizes
        self.ways, self.shots, self.queries = sizes.ways, sizes.shots, sizes.queries
        self.seed = derive(seed, "tasks", held_out)
        self.kind = kind
        self.same_domain = same_domain
        self.topics = [topic.classes for topic in hierarchy.split(held_out)]
        rest = hierarchy.split(False) if held_out and len(self.topics) == 1 else []
        self.others = [*self.topics, *(topic.classes for topic in rest)]
        self.domains = range(sizes.domains)
        self.fine, self.coarse = self._places()
        self.all = [cls for topic in self.topics for cls in topic]
        self.held_out = held_out
        self.draw(0)

    def draw(self, index: int) -> Task:
        """Return a task; its parts share no picture, and the names of its classes differ."""
        for attempt in range(ATTEMPTS):
            try:
                return self._draw(random.Random(derive(self.seed, index, attempt)))
            except _NoTask:
                continue
        raise UserError(
            f"no task of {self.ways} classes with {self.shots} + {self.queries} pictures can be "
            f"drawn from the {len(self.topics)} {'held-out' if self.held_out else 'training'} "
            f"topics ({len(self.all)} classes); more pairs, or fewer ways, shots or queries"
        )

    def _draw(self, dice: random.Random) -> Task:
        if self.kind == "clustered":
            return self._clustered(dice)
        first = self._distinct(dice, self.all, need=self.shots + self.queries)
        taken = {cls.name for cls in first}
        others = [cls for topic in self.others for cls in topic]
        second = self._distinct(dice, others, taken, need=self.queries)
        if self.kind == "random":
            return self._random(dice, first, second)
        same = [(cls.name, cls.pairs, cls.pairs) for cls in first]
        return self._task(dice, same, [(cls.name, cls.pairs) for cls in second])

    def _clustered(self, dice: random.Random) -> Task:
        places = self.coarse if self.coarse and dice.random() < COARSE else self.fine or self.coarse
        if not places:
            raise _NoTask
        topic, a, b = dice.choice(places)
        if topic is None:
            touched, first = self._one_a_topic(dice, a, b)
        else:
            touched = {topic}
            first = dice.sample(self._enough(self.topics[topic], a, b), self.ways)
        second, c = self._other_classes(dice, first, touched, a)
        same = [(cls.name, cls.domains[a], cls.domains[b]) for cls in first]
        return self._task(dice, same, [(cls.name, cls.domains[c]) for cls in second])

    def _places(self) -> tuple[list[Place], list[Place]]:
        """Return the places that have tasks: topics, and domain pairs for coarse tasks."""
        fine: list[Place] = []
        coarse: list[Place] = []
        for a, b in product(self.domains, repeat=2):
            if (a == b) != self.same_domain:
                continue
            counts = [len(self._enough(classes, a, b)) for classes in self.topics]
            fine += [(topic, a, b) for topic, n in enumerate(counts) if n >= self.ways]
            if sum(n > 0 for n in counts) >= self.ways:
                coarse.append((None, a, b))
        return fine, coarse

    def _enough(self, classes: Sequence[NamedClass], a: int, b: int) -> list[NamedClass]:
        """Return the classes with a support in domain ``a`` and queries in domain ``b``."""
        return [cls for cls in classes if cls.has(a, self.shots, b, self.queries)]

    def _one_a_topic(
        self, dice: random.Random, a: int, b: int
    ) -> tuple[set[int], list[NamedClass]]:
        """Return the topics drawn and one class from each of them."""
        found: dict[str, tuple[int, NamedClass]] = {}
        for topic in dice.sample(range(len(self.topics)), len(self.topics)):
            pool = self._enough(self.topics[topic], a, b)
            free = [cls for cls in pool if cls.name not in found]
            if free and len(found) < self.ways:
                cls = dice.choice(free)
                found[cls.name] = (topic, cls)
        if len(found) < self.ways:
            raise _NoTask
        topics, classes = zip(*found.values(), strict=True)
        return set(topics), list(classes)

    def _other_classes(
        self, dice: random.Random, first: list[NamedClass], touched: set[int], a: int
    ) -> tuple[list[NamedClass], int]:
        """Return classes of one topic for the other queries, and their domain."""
        domains = [a] if self.same_domain else [domain for domain in self.domains if domain != a]
        places = list(product(range(len(self.others)), domains))
        dice.shuffle(places)
        # topics of support classes come last
        places.sort(key=lambda place: place[0] in touched)
        taken = {cls.name for cls in first}
        for topic, domain in places:
            classes = self.others[topic]
            enough = (cls for cls in classes if len(cls.domains[domain]) >= self.queries)
            pool = [cls for cls in enough if cls.name not in taken]
            if len(pool) >= self.ways:
                return dice.sample(pool, self.ways), domain
        raise _NoTask

    def _distinct(
        self,
        dice: random.Random,
        classes: Sequence[NamedClass],
        taken: Collection[str] = (),
        *,
        need: int,
    ) -> list[NamedClass]:
        """Return random classes of ``need`` pictures with distinct names, none of them taken."""
        found: dict[str, NamedClass] = {}
        for cls in dice.sample(classes, len(classes)):
            if len(found) < self.ways and cls.name not in taken and len(cls.pairs) >= need:
                found.setdefault(cls.name, cls)
        if len(found) < self.ways:
            raise _NoTask
        return list(found.values())

    def _random(
        self, dice: random.Random, first: list[NamedClass], second: list[NamedClass]
    ) -> Task:
        """Return a task whose classes are any pictures, one of them of the class of that name."""
        leads = [dice.choice(cls.pairs) for cls in (*first, *second)]
        taken = set(leads)
        rest = [pair for cls in self.all for pair in cls.pairs if pair not in taken]
        more = self.shots + self.queries - 1
        size = self.ways * (more + self.queries - 1)
        if len(rest) < size:
            raise _NoTask
        filler = iter(dice.sample(rest, size))

        def fill(lead: Pool, count: int) -> Pool:
            return (*lead, *(next(filler) for _ in range(count - len(lead))))

        supports = [fill((lead,), self.shots) for lead in leads[: self.ways]]
        sames = [fill((), self.queries) for _ in first]
        others = [fill((lead,), self.queries) for lead in leads[self.ways :]]
        names, other_names = ([cls.name for cls in classes] for classes in (first, second))
        same = list(zip(names, supports, sames, strict=True))
        return self._task(dice, same, list(zip(other_names, others, strict=True)))

    def _task(
        self,
        dice: random.Random,
        same: list[tuple[str, Pool, Pool]],
        other: list[tuple[str, Pool]],
    ) -> Task:
        """Draw the pictures of a task.

        Args:
            same: name, support's and queries' pool of each class.
            other: name and pool of each class of the other queries.
        """
        supports, queries = [], []
        for _, pool, query_pool in same:
            supports.append(dice.sample(pool, self.shots))
            taken = set(supports[-1])
            left = [pair for pair in query_pool if pair not in taken]
            queries.append(dice.sample(left, self.queries))
        others = [dice.sample(pool, self.queries) for _, pool in other]
        names, other_names = ([each[0] for each in classes] for classes in (same, other))
        return Task(_part(supports, names), _part(queries, names), _part(others, other_names))


class _NoTask(Exception):
    """Signal that no other classes fit those drawn so far."""


def _part(pairs: list[list[int]], names: list[str]) -> TaskPart:
    return TaskPart(
        tuple(pair for members in pairs for pair in members),
        tuple(label for label, members in enumerate(pairs) for _ in members),
        tuple(names),
    )
