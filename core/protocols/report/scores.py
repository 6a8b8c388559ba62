"""One number of a report: its mean and interval over seeds, and the published number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from softprompt.core.engine.results import harmonic_mean

CONFIDENCE = 0.95
ROUNDING = 0.05  # error of published numbers, some of which have one decimal place


@dataclass(frozen=True)
class Published:
    """A number from the literature."""

    value: float
    method: str
    source: str  # its first word states how far to trust it: orig, cited, rerun or note


@dataclass(frozen=True)
class Score:
    """An accuracy or H, in percent."""

    mean: float
    by_seed: dict[int, float]
    half: float | None = None  # half the width of the 95% interval; None: fewer than two seeds
    rows: tuple[int, int] | None = None  # of an average: how many rows have a number, of how many
    published: Published | None = None

    @property
    def difference(self) -> float | None:
        """The mean minus the published number."""
        return None if self.published is None else self.mean - self.published.value

    @property
    def outside(self) -> bool:
        """Whether the published number is outside the interval, by more than rounding."""
        if self.difference is None or self.half is None:
            return False
        return abs(self.difference) > self.half + ROUNDING

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds; None for a single one."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    @property
    def incomplete(self) -> bool:
        return self.rows is not None and self.rows[0] < self.rows[1]


def half_width(values: Sequence[float]) -> float | None:
    """Return half of the Student t interval's width around the mean; None for a single value."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # scipy.stats.t.ppf calls it, but takes a second to import

    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * stdev(values) / math.sqrt(len(values))


def over_seeds(by_seed: dict[int, float]) -> Score:
    """Return the mean over seeds."""
    values = list(by_seed.values())
    return Score(fmean(values), by_seed, half_width(values))


def h_of(base: Score, new: Score) -> Score:
    """Return H of the two means, as is usual in publications, with the interval of the seeds' H."""
    seeds = [seed for seed in base.by_seed if seed in new.by_seed]
    by_seed = {seed: harmonic_mean(base.by_seed[seed], new.by_seed[seed]) for seed in seeds}
    rows = None
    if base.rows and new.rows:
        rows = (min(base.rows[0], new.rows[0]), max(base.rows[1], new.rows[1]))
    mean = harmonic_mean(base.mean, new.mean)
    return Score(mean, by_seed, half_width(list(by_seed.values())), rows)


def average_of(scores: Sequence[Score | None]) -> Score | None:
    """Average over the rows with a score, None if there is none.

    The interval is over the seeds that all of these rows have.
    """
    known = [score for score in scores if score is not None]
    if not known:
        return None
    seeds = [seed for seed in known[0].by_seed if all(seed in score.by_seed for score in known)]
    by_seed = {seed: fmean(score.by_seed[seed] for score in known) for seed in seeds}
    rows = (len(known), len(scores))
    mean = fmean(score.mean for score in known)
    return Score(mean, by_seed, half_width(list(by_seed.values())), rows)
