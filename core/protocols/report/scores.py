"""One number of a report: its mean and interval over seeds, and what was published of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from softprompt.core.engine.results import harmonic_mean

CONFIDENCE = 0.95
ROUNDING = 0.05  # of published numbers, some of which have one decimal place


@dataclass(frozen=True)
class Published:
    """A number from the literature."""

    value: float
    method: str
    source: str  # its first word is how far to trust it: orig, cited, rerun or note


@dataclass(frozen=True)
class Score:
    """An accuracy or H, in percent."""

    mean: float
    by_seed: dict[int, float]
    half: float | None = None  # of the 95% interval's width; None: fewer than two seeds
    rows: tuple[int, int] | None = None  # an average: over how many rows, out of how many
    published: Published | None = None

    @property
    def difference(self) -> float | None:
        """The mean minus the published number."""
        return None if self.published is None else self.mean - self.published.value

    @property
    def outside(self) -> bool:
        """Whether the published number is outside the interval, by more than rounding."""
        if self.published is None or self.half is None:
            return False
        return abs(self.difference) > self.half + ROUNDING

    @property
    def incomplete(self) -> bool:
        return self.rows is not None and self.rows[0] < self.rows[1]


def half_width(values: Sequence[float]) -> float | None:
    """Return half of the Student t interval's width around the mean; None for a single value."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, without the second it takes

    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * stdev(values) / math.sqrt(len(values))


def over_seeds(by_seed: dict[int, float]) -> Score:
    values = list(by_seed.values())
    return Score(fmean(values), by_seed, half_width(values))


def h_of(base: Score, new: Score) -> Score:
    """H of the two means, as the field publishes it; its interval is that of the seeds' H."""
    seeds = [seed for seed in base.by_seed if seed in new.by_seed]
    by_seed = {seed: harmonic_mean(base.by_seed[seed], new.by_seed[seed]) for seed in seeds}
    rows = None
    if base.rows and new.rows:
        rows = (min(base.rows[0], new.rows[0]), max(base.rows[1], new.rows[1]))
    mean = harmonic_mean(base.mean, new.mean)
    return Score(mean, by_seed, half_width(list(by_seed.values())), rows)


def average_of(scores: Sequence[Score | None]) -> Score | None:
    """Average over rows; a seed counts in the interval if every row that is there has it."""
    there = [score for score in scores if score is not None]
    if not there:
        return None
    seeds = [seed for seed in there[0].by_seed if all(seed in score.by_seed for score in there)]
    by_seed = {seed: fmean(score.by_seed[seed] for score in there) for seed in seeds}
    rows = (len(there), len(scores))
    mean = fmean(score.mean for score in there)
    return Score(mean, by_seed, half_width(list(by_seed.values())), rows)
