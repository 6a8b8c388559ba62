"""How finely pairs are clustered: a rule for many, smaller steps for few."""

from collections.abc import Iterator
from dataclasses import asdict, replace

from softprompt.core.base.errors import UserError
from softprompt.core.meta.hierarchy import Sizes

KEPT_MEMBERS = 0.6  # those that belong to their class most clearly

# What is tried in turn where the rule's sizes leave no tasks, as they do below 50,000 pairs.
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


def check_sizes(fixed: dict[str, int]) -> None:
    """Raise ``UserError`` for a size that leaves no tasks; 0 leaves one to the rule."""
    for name, least in asdict(LEAST).items():
        if fixed[name] and fixed[name] < least:
            raise UserError(f"{name.upper()} is {fixed[name]}, but must be at least {least}")
    if 0 < fixed["classes"] < fixed["ways"]:
        raise UserError(
            f"WAYS is {fixed['ways']}, more than the {fixed['classes']} CLASSES of a topic"
        )


def candidates(pairs: int, fixed: dict[str, int]) -> Iterator[Sizes]:
    """Yield sizes from the rule's to the smallest; ``fixed`` holds those that the user has set."""
    rule = Sizes(min(max(round(pairs / 5000), 20), 500), 10, 4, 10, 4, 4)
    given = {name: value for name, value in fixed.items() if value}
    tried = set()
    for sizes in (rule, *SMALLER):
        sizes = replace(sizes, **given)
        if "classes" not in given:
            sizes = replace(sizes, classes=max(sizes.classes, sizes.ways))
        if sizes not in tried:
            tried.add(sizes)
            yield sizes


def members_needed(count: int) -> int:
    """Return how many pictures a class needs in a domain of which ``count`` are drawn at once."""
    return count + min(count, 4)


def topics_needed(sizes: Sizes) -> float:
    """Return how many topics must have tasks: two and one held out, and half of all."""
    return max(3, sizes.topics / 2)


def fewest_pairs(sizes: Sizes) -> float:
    """Return a number of pairs below which no clusters whatever have tasks of these sizes."""
    members = members_needed(sizes.shots) + members_needed(sizes.queries)
    # Of the pairs in a class this share, rounded up, becomes its members.
    return topics_needed(sizes) * sizes.ways * (members - 1) / KEPT_MEMBERS


def pairs_needed(fixed: dict[str, int], kept: float) -> int:
    """Return roughly how many pairs the smallest sizes need: twice what even clusters would.

    Args:
        kept: the share of pairs that is clustered.
    """
    *_, least = candidates(0, fixed)
    cells = least.topics * least.classes * least.domains
    members = cells * members_needed(max(least.shots, least.queries))
    return 10 * round(2 * members / (kept * KEPT_MEMBERS) / 10)


def described(sizes: Sizes) -> str:
    values = asdict(sizes)
    return (
        "{topics} topics of {classes} classes in {domains} visual domains, tasks of {ways} classes "
        "with {shots} + {queries} pictures"
    ).format(**values)
