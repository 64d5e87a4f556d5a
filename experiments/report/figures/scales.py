"""The axis of a searched hyperparameter: positions of values, and values as text."""

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
"""Trials with the same value are spread over this fraction of the gap between two steps."""
_ROUNDING = 1e-9
NOT_USED = -0.2
"""Position of trials that do not have a hyperparameter."""


class Scale:
    """A domain as an axis from 0 to 1, see `search.proposing.domains.to_unit`.

    A value outside the range, which the reference configuration may have, is outside 0 to 1.

    Args:
        distribution: domain of a searched hyperparameter, with more than one value.
        not_used: whether some trials do not have the hyperparameter; they are below the axis.
    """

    def __init__(self, distribution: BaseDistribution, *, not_used: bool = False) -> None:
        self._distribution, self._not_used = distribution, not_used
        self._is_log = (
            isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log
        )
        values = domain_values(distribution)
        self._values = None if values is None or self._is_log else list(values)

    def place(self, value: Value | None) -> float:
        """The position of a value; None stands for a trial without the hyperparameter."""
        return NOT_USED if value is None else to_unit(self._distribution, value)

    def spread(self, value: Value | None, number: int) -> float:
        """`place`, moved a little by the trial's number if many trials may have the same value.

        A value of the domain stays between 0 and 1: beyond are only values outside of it.
        """
        place = self.place(value)
        if value is None or self._values is None or len(self._values) < 2:
            return place
        if not -_ROUNDING <= place <= 1 + _ROUNDING:
            return place
        gap = 1 / (len(self._values) - 1)
        moved = place + _SPREAD * gap * ((number * _GOLDEN) % 1 - 0.5)
        return 1 - abs(1 - abs(moved))  # reflected at both ends

    def ticks(self, most: int) -> tuple[list[float], list[str]]:
        """Positions and texts of at most `most` values, both ends included, and "not used"."""
        named = self._named(most)
        places, texts = [self.place(v) for v in named], [number(v) for v in named]
        if self._not_used:
            return [NOT_USED, *places], ["not used", *texts]
        return places, texts

    def _named(self, most: int) -> list[Value]:
        if self._values is not None:
            steps = -(-(len(self._values) - 1) // (most - 1))
            named = [*self._values[:-1:steps], self._values[-1]]
            # The last but one is dropped if it is too near the end to be read.
            if len(named) > 2 and (len(self._values) - 1) % steps:
                del named[-2]
            return named
        low, middle, high = (value_at(self._distribution, unit) for unit in (0.0, 0.5, 1.0))
        return [low, *_decades(low, high), high] if self._is_log else [low, middle, high]


def scale_of(name: str, trials: Sequence[TrialRecord], space: Space) -> Scale:
    """The scale of a searched hyperparameter; it has "not used" if some trials do not have it."""
    lacking = any(t.configuration and name not in t.configuration for t in trials)
    return Scale(space.distributions[name], not_used=lacking)


def _decades(low: float, high: float) -> list[float]:
    """At most two powers of ten that are well inside the range."""
    span = math.log10(high / low)
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    inside = [10.0**p for p in powers if 0.2 < (p - math.log10(low)) / span < 0.75]
    return inside[:: max(1, len(inside) // 2)][:2]


def number(value: Value | None) -> str:
    """A number with three significant digits: `0.001`, `3e-05`, `32`; other values as text."""
    if value is None:
        return "not used"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    whole = abs(value) < 1e6 and value == round(value)
    return f"{value:.0f}" if whole else f"{value:.3g}"


def best_quarter(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The best quarter of the complete trials, best first; at least one if there is any."""
    complete = [t for t in trials if t.value is not None]
    complete.sort(key=lambda t: (-(t.value or 0.0), t.number))
    return complete[: max(1, round(len(complete) / 4))]


def value_range(name: str, trials: Sequence[TrialRecord]) -> str:
    """The middle half of the values of at least one trial: `0.001 to 0.003`, or `2` if equal.

    For text, and if some trials do not have the hyperparameter, how often each value occurs:
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
