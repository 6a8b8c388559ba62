"""Few-shot tasks for meta-training: what one is."""

from dataclasses import dataclass


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
