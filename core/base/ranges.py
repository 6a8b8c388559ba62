"""The numbers that a setting takes: stated where it is declared, checked and documented from there.

An option of a registered class states it in its annotation: ``weight: NotNegative = 8.0``, or
``share: Annotated[float, Range(0, 0.5)] = 0.1``.
"""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """The numbers that a setting takes; each bound is optional, and infinity is no number.

    Attributes:
        least, most: the smallest and the largest number.
        above, below: numbers that it must exceed, or stay under.
        otherwise: one number outside that is allowed, with its meaning: (-1, "all").
        unbounded: infinity is allowed as well: a limit that never applies.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    otherwise: tuple[int, str] | None = None
    unbounded: bool = False

    def __contains__(self, number: float) -> bool:
        if self.otherwise and number == self.otherwise[0]:
            return True
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        """Return the bounds in words: "at least 0 and below 1"."""
        bounds = {
            "at least": self.least,
            "above": self.above,
            "at most": self.most,
            "below": self.below,
        }
        words = {
            word: f"{b:,}" if isinstance(b, int) else f"{b:g}"
            for word, b in bounds.items()
            if b is not None
        }
        return " and ".join(f"{word} {number}" for word, number in words.items())


Count = Annotated[int, Range(1)]
CountOrZero = Annotated[int, Range(0)]
Vectors = Annotated[int, Range(1, 1000)]  # of context; no backbone reads as many
VectorsOrNone = Annotated[int, Range(0, 1000)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
