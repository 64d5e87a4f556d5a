"""The axis of a searched hyperparameter: where its values stand, and what it says in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing.domains import domain_values, to_unit, value_at
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord

_GOLDEN = 0.618_033_988_749_895
_SPREAD = 0.5
"""Fraction of the gap between two steps over which trials of one value are spread."""
NOT_USED = -0.2
"""Where trials stand that do not have a hyperparameter."""


class Scale:
    """A domain as an axis from 0 to 1, see `search.proposing.domains.to_unit`.

    A value outside a range, as the reference configuration's may be, stands outside 0 to 1.

    Args:
        distribution: of a searched hyperparameter, of more than one value.
        not_used: whether some of the trials do not have it; they stand below the axis.
    """

    def __init__(self, distribution: BaseDistribution, *, not_used: bool = False) -> None:
        self._distribution, self._not_used = distribution, not_used
        self._is_log = (
            isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log
        )
        values = domain_values(distribution)
        self._values = None if values is None or self._is_log else list(values)

    def place(self, value: Value | None) -> float:
        """Where a value stands; None is that of a trial that does not have it."""
        return NOT_USED if value is None else to_unit(self._distribution, value)

    def spread(self, value: Value | None, number: int) -> float:
        """`place`, moved a little by the trial's number where many trials have one value."""
        if value is None or self._values is None or len(self._values) < 2:
            return self.place(value)
        gap = 1 / (len(self._values) - 1)
        return self.place(value) + _SPREAD * gap * ((number * _GOLDEN) % 1 - 0.5)

    def ticks(self, most: int) -> tuple[list[float], list[str]]:
        """Places and texts of at most so many values, the ends among them, and "not used"."""
        named = self._named(most)
        places, texts = [self.place(v) for v in named], [number(v) for v in named]
        if self._not_used:
            return [NOT_USED, *places], ["not used", *texts]
        return places, texts

    def _named(self, most: int) -> list[Value]:
        if self._values is not None:
            steps = -(-(len(self._values) - 1) // (most - 1))
            named = [*self._values[:-1:steps], self._values[-1]]
            # The last but one, where it is too near the end to be read.
            if len(named) > 2 and (len(self._values) - 1) % steps:
                del named[-2]
            return named
        low, middle, high = (value_at(self._distribution, unit) for unit in (0.0, 0.5, 1.0))
        return [low, *_decades(low, high), high] if self._is_log else [low, middle, high]


def scale_of(name: str, trials: Sequence[TrialRecord], space: Space) -> Scale:
    """Of a searched hyperparameter, with a place for those of the trials that do not have it."""
    lacking = any(t.configuration and name not in t.configuration for t in trials)
    return Scale(space.distributions[name], not_used=lacking)


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten well inside, at most two."""
    span = math.log10(high / low)
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    inside = [10.0**p for p in powers if 0.2 < (p - math.log10(low)) / span < 0.75]
    return inside[:: max(1, len(inside) // 2)][:2]


def number(value: Value | None) -> str:
    """As short as three significant digits allow, `0.001`, `3e-05`, `32`, or as it is written."""
    if value is None:
        return "not used"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:.3g}"


def best_quarter(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Of the complete trials, at least one, best first; none of none."""
    complete = [t for t in trials if t.value is not None]
    complete.sort(key=lambda t: (-(t.value or 0.0), t.number))
    return complete[: max(1, round(len(complete) / 4))]


def value_range(name: str, trials: Sequence[TrialRecord]) -> str:
    """The middle half of the values of at least one trial: `0.001 to 0.003`, `2` where alike.

    Of choices of text, and of what some trials do not have, how often each occurs:
    `gradual (3), none (1)`.
    """
    values = [t.configuration.get(name) for t in trials]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    middle = ""
    if numbers:
        ends = np.quantile(numbers, [0.25, 0.75], method="nearest")
        middle = " to ".join(dict.fromkeys(number(float(v)) for v in ends))
    if len(numbers) == len(values):
        return middle
    counts = Counter(number(v) for v in values if v not in numbers)
    parts = [f"{text} ({count})" for text, count in counts.most_common()]
    return ", ".join([f"{middle} ({len(numbers)})", *parts] if numbers else parts)
