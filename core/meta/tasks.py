"""Few-shot tasks for meta-training, drawn from clustered pairs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from softprompt.core.base.errors import UserError
from softprompt.core.base.seeding import derive
from softprompt.core.meta.hierarchy import Hierarchy, NamedClass

KINDS = ("clustered", "flat", "random")
COARSE = 0.3  # share of tasks with one class from each of several topics
ATTEMPTS = 100  # a draw can end where no classes are left that go with those drawn


@dataclass(frozen=True)
class TaskPart:
    """Some labelled pictures of a task, and the names of their classes."""

    pairs: tuple[int, ...]  # positions in the captioned pairs
    labels: tuple[int, ...]  # of each pair, below len(classnames)
    classnames: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A support set and two query sets, all with pictures of their own."""

    support: TaskPart
    query_same: TaskPart  # Q_A: the same classes in another domain
    query_other: TaskPart  # Q_B: other classes, in a domain that is not the support's


class TaskSampler:
    """Draws tasks; task number ``index`` depends on the seed and the index alone.

    Most tasks have classes of one topic, 30% one class from each of several; the support is of one
    visual domain, the same classes' queries of another. The other classes come from a topic that
    the support does not touch, as far as there is one. Names are unique within a task.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        *,
        ways: int,
        shots: int,
        queries: int,
        seed: int,
        held_out: bool = False,
        tasks: str = "clustered",
        same_domain: bool = False,
    ):
        """List what tasks can be made of.

        Args:
            held_out: tasks of the held-out topics instead of the others. The other classes of a
                single held-out topic are taken from the topics that are trained on.
            tasks: "clustered"; or a control: "flat" takes any classes in any domains, "random"
                any pictures whatever, each class named as one of them.
            same_domain: a control: support and queries are of one domain.

        Raises:
            UserError: no task of this size can be made.
        """
        if tasks not in KINDS:
            raise UserError(f"tasks are {tasks!r}, not {', '.join(KINDS)}")
        self.ways, self.shots, self.queries = ways, shots, queries
        self.seed = derive(seed, "tasks", held_out)
        self.kind = tasks
        self.same_domain = same_domain
        self.topics = [topic.classes for topic in hierarchy.split(held_out)]
        rest = hierarchy.split(False) if held_out and len(self.topics) == 1 else []
        self.others = [*self.topics, *(topic.classes for topic in rest)]
        self.domains = range(hierarchy.sizes.domains)
        self.fine, self.coarse = self._places()
        self.all = [cls for topic in self.topics for cls in topic]
        self.held_out = held_out
        self.draw(0)

    def draw(self, index: int) -> Task:
        """Return a task; its parts share no picture, and its classes' names differ."""
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
        first = self._distinct(dice, self.all, self.ways, need=self.shots + self.queries)
        taken = {cls.name for cls in first}
        others = [cls for topic in self.others for cls in topic]
        second = self._distinct(dice, others, self.ways, taken, need=self.queries)
        if self.kind == "random":
            return self._random(dice, first, second)
        pools = [cls.pairs for cls in first]
        return self._task(dice, first, pools, pools, second, [cls.pairs for cls in second])

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
        supports, sames = ([cls.domains[domain] for cls in first] for domain in (a, b))
        return self._task(dice, first, supports, sames, second, [cls.domains[c] for cls in second])

    def _places(self) -> tuple[list[tuple], list[tuple]]:
        """Where tasks can be made: (topic, support's domain, queries' domain), coarse: no topic."""
        fine, coarse = [], []
        for a, b in product(self.domains, repeat=2):
            if (a == b) != self.same_domain:
                continue
            counts = [len(self._enough(classes, a, b)) for classes in self.topics]
            fine += [(topic, a, b) for topic, n in enumerate(counts) if n >= self.ways]
            if sum(n > 0 for n in counts) >= self.ways:
                coarse.append((None, a, b))
        return fine, coarse

    def _enough(self, classes: Sequence[NamedClass], a: int, b: int) -> list[NamedClass]:
        """The classes with enough pictures for a support in domain ``a`` and queries in ``b``."""
        return [cls for cls in classes if cls.has(a, self.shots, b, self.queries)]

    def _one_a_topic(
        self, dice: random.Random, a: int, b: int
    ) -> tuple[set[int], list[NamedClass]]:
        """Classes of as many topics, and these."""
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
        """Classes of one topic for the other queries, and their domain."""
        domains = [a] if self.same_domain else [domain for domain in self.domains if domain != a]
        places = list(product(range(len(self.others)), domains))
        dice.shuffle(places)
        # a topic that the support touches is used only if there is no other
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
        self, dice: random.Random, classes, count: int, taken=frozenset(), need: int = 1
    ) -> list[NamedClass]:
        """Random classes with enough pictures whose names differ from each other and ``taken``."""
        found: dict[str, NamedClass] = {}
        for cls in dice.sample(classes, len(classes)):
            if len(found) < count and cls.name not in taken and len(cls.pairs) >= need:
                found.setdefault(cls.name, cls)
        if len(found) < count:
            raise _NoTask
        return list(found.values())

    def _random(self, dice: random.Random, first, second) -> Task:
        """Classes of any pictures; one picture of each class that lends its name is among them."""
        leads = [dice.choice(cls.pairs) for cls in (*first, *second)]
        taken = set(leads)
        rest = [pair for cls in self.all for pair in cls.pairs if pair not in taken]
        more = self.shots + self.queries - 1
        size = self.ways * (more + self.queries - 1)
        if len(rest) < size:
            raise _NoTask
        filler = iter(dice.sample(rest, size))

        def fill(lead: tuple, count: int) -> tuple:
            return (*lead, *(next(filler) for _ in range(count - len(lead))))

        supports = [fill((lead,), self.shots) for lead in leads[: self.ways]]
        sames = [fill((), self.queries) for _ in first]
        others = [fill((lead,), self.queries) for lead in leads[self.ways :]]
        return self._task(dice, first, supports, sames, second, others)

    def _task(self, dice: random.Random, first, supports, sames, second, others) -> Task:
        """Put a task together from the pools of pictures of its classes."""
        support, same = [], []
        for pool, query in zip(supports, sames, strict=True):
            support.append(dice.sample(pool, self.shots))
            taken = set(support[-1])
            left = [pair for pair in query if pair not in taken]
            same.append(dice.sample(left, self.queries))
        other = [dice.sample(pool, self.queries) for pool in others]
        return Task(_part(support, first), _part(same, first), _part(other, second))


class _NoTask(Exception):
    """The classes drawn so far leave no others to go with them."""


def _part(pairs: list[list[int]], classes: Sequence[NamedClass]) -> TaskPart:
    return TaskPart(
        tuple(pair for members in pairs for pair in members),
        tuple(label for label, members in enumerate(pairs) for _ in members),
        tuple(cls.name for cls in classes),
    )
