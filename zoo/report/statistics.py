"""Means over seeds, differences paired by seed, and what so many seeds can show.

Intervals and probabilities are Student's t of SciPy. Where several models are compared to one control, probabilities
are corrected by Holm's procedure (A simple sequentially rejective multiple test procedure, 1979), and each interval has
the level at which it decides on it, so that it holds zero exactly where nothing is shown.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

LEVEL = 0.05
SOUGHT = 0.01
POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half of its interval, which one value alone does not have.

    Attributes:
        mean: Of the values.
        half: Half of the interval; `None` of one value.
        count: How many values.
        deviation: Their standard deviation; `None` of one value.
    """

    mean: float
    half: float | None
    count: int
    deviation: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], level: float = LEVEL) -> Estimate:
        """Student's t interval of independent values, which misses the mean with a probability of `level`."""
        if len(values) < 2:
            return cls(values[0], None, len(values))
        deviation = statistics.stdev(values)
        return cls(statistics.mean(values), _half(deviation, len(values), level), len(values), deviation)

    def __str__(self) -> str:
        return f"{self.mean:.3f}{self.interval or ', one seed'}"

    @property
    def interval(self) -> str:
        """What follows the mean."""
        return "" if self.half is None else f" \N{PLUS-MINUS SIGN} {self.half:.3f}"


@dataclass(frozen=True)
class Difference:
    """How much more a model scores than a control, over the seeds that both have.

    Attributes:
        control: Label of the control.
        gain: The paired difference; its interval has the level at which Holm's procedure decides.
        probability: That of a difference at least as large if there were none, after Holm's correction over `models`;
            `None` of one seed.
        models: How many models were compared to the control.
        level: What the interval misses the true difference with.
    """

    control: str
    gain: Estimate
    probability: float | None = None
    models: int = 1
    level: float = LEVEL

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `no difference shown` when the interval holds zero, or `one seed`."""
        if self.gain.half is None:
            return "one seed"
        if abs(self.gain.mean) <= self.gain.half:
            return "no difference shown"
        return "better" if self.gain.mean > 0 else "worse"

    @property
    def smallest(self) -> float | None:
        """The smallest difference that these seeds could have shown; `None` of one seed."""
        return self.gain.half

    @property
    def more_seeds(self) -> int | None:
        """Seeds to add, so that a true difference of `SOUGHT` is shown four times in five.

        By the noncentral t distribution, if the differences go on to vary as they did. `None` of one seed, and where
        more than `MOST_SEEDS` were needed.
        """
        deviation = self.gain.deviation
        if deviation is None:
            return None
        counts = range(2, MOST_SEEDS + 1)
        enough = bisect_left(counts, POWER, key=lambda count: _power(deviation, count, self.level))
        return max(0, counts[enough] - self.gain.count) if enough < len(counts) else None

    def __str__(self) -> str:
        return f"{self.shown}, {self.verdict}"

    @property
    def shown(self) -> str:
        """The mean with its sign, and its interval."""
        mean = f"{self.gain.mean:+.3f}"
        return f"{mean if float(mean) else '0.000'}{self.gain.interval}"

    def headline(self, model: str) -> str:
        """The verdict on a model in words."""
        if self.verdict == "one seed":
            return f"One seed cannot say how {model} compares with {self.control}:"
        if self.verdict == "no difference shown":
            return f"No difference is shown between {model} and {self.control}:"
        return f"{model} is {self.verdict} than {self.control}:"

    @property
    def details(self) -> str:
        """What follows the headline: the difference and, where none is shown, what these seeds could have shown."""
        over = f"{self.shown} over {self.gain.count} seeds."
        if self.verdict == "one seed":
            return f"{self.shown}."
        if self.verdict != "no difference shown":
            return over
        more, goal = self.more_seeds, f"a true difference of {SOUGHT} four times in five"
        if more is None:
            ahead = f"more than {MOST_SEEDS} seeds were needed to show {goal}"
        else:
            ahead = f"{more} more would show {goal}" if more else f"they show {goal}"
        return f"{over} The smallest that these seeds could have shown is {self.smallest:.3f}; {ahead}."

    def explain(self, model: str) -> str:
        """Headline and details."""
        return f"{self.headline(model)} {self.details}"


def paired(gains: Mapping[str, Sequence[float]], control: str) -> dict[str, Difference]:
    """Compare models to a control, corrected by Holm over all that have two seeds at least.

    Args:
        gains: Model to its differences to the control, one a seed, at least one.
        control: Label of the control.
    """
    chances = {model: _probability(values) for model, values in gains.items() if len(values) > 1}
    found = {model: Difference(control, Estimate.of(values)) for model, values in gains.items()}
    level, corrected, rejected = LEVEL, 0.0, True
    for rank, model in enumerate(sorted(chances, key=lambda each: (chances[each], each))):
        left = len(chances) - rank
        corrected = max(corrected, min(1.0, left * chances[model]))
        # From the first model on of which nothing is shown, Holm's procedure tests no further: they share its level.
        level = LEVEL / left if rejected else level
        rejected = rejected and chances[model] <= level
        found[model] = Difference(control, Estimate.of(gains[model], level), corrected, len(chances), level)
    return found


def _half(deviation: float, count: int, level: float) -> float:
    return _quantile(level, count - 1) * deviation / math.sqrt(count)


@lru_cache(maxsize=1024)
def _quantile(level: float, freedom: int) -> float:
    """The t that is exceeded, on either side, with a probability of `level`."""
    from scipy import stats  # a second to import, and a training writes its card without it

    return float(stats.t.isf(level / 2, freedom))


def _probability(values: Sequence[float]) -> float:
    """Two-sided, of a mean at least as far from zero if the true one were zero."""
    deviation = statistics.stdev(values)
    if not deviation:
        return float(not any(values))
    from scipy import stats

    t = abs(statistics.mean(values)) / deviation * math.sqrt(len(values))
    return 2 * float(stats.t.sf(t, len(values) - 1))


def _power(deviation: float, count: int, level: float) -> float:
    """The chance that a true difference of `SOUGHT` is shown by so many seeds."""
    if not deviation:
        return 1.0
    from scipy import stats

    shift = SOUGHT / deviation * math.sqrt(count)
    return float(stats.nct.sf(_quantile(level, count - 1), count - 1, shift))
