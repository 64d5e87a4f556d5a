"""The axis of a searched hyperparameter: where its values stand, and what it says in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from model.hyperparameters import Value
from search.records import TrialRecord
from search.space import domain_values

_GOLDEN = 0.618_033_988_749_895
_SPREAD = 0.5
"""Share of the gap between two steps over which trials of one value are spread."""


class Scale:
    """A domain as 0 to 1: logarithmic where it is, steps and choices evenly apart.

    A value outside the domain, as the reference configuration's may be, is outside 0 to 1; one
    that is no choice stands at the nearest choice.

    Args:
        distribution: of a searched hyperparameter, of more than one value.
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        self._choices: Sequence[float] | None = None
        if isinstance(distribution, CategoricalDistribution):
            self._choices = [float(c) for c in distribution.choices if isinstance(c, int | float)]
            self._low, self._high, self._log = 0.0, float(len(self._choices) - 1), False
        elif isinstance(distribution, FloatDistribution | IntDistribution):
            self._low, self._high = float(distribution.low), float(distribution.high)
            self._log = distribution.log
        else:
            raise TypeError(f"{type(distribution).__name__} is not a domain of this space")
        values = domain_values(distribution)
        self._values = None if values is None or self._log else list(values)

    def place(self, value: Value) -> float:
        """Where a value stands."""
        low, high, at = self._low, self._high, float(value)
        if self._choices is not None:
            nearest = min(self._choices, key=lambda choice: abs(choice - at))
            at = float(self._choices.index(nearest))
        if self._log:
            low, high, at = (
                math.log(low),
                math.log(high),
                math.log(at) if at > 0 else math.log(low),
            )
        return (at - low) / (high - low)

    def spread(self, value: Value, number: int) -> float:
        """`place`, moved a little by the trial's number where many trials have one value."""
        if self._values is None or len(self._values) < 2:
            return self.place(value)
        gap = 1 / (len(self._values) - 1)
        return self.place(value) + _SPREAD * gap * ((number * _GOLDEN) % 1 - 0.5)

    def ticks(self, most: int) -> tuple[list[float], list[str]]:
        """Places and texts of at most so many values, the ends among them."""
        if self._values is not None:
            steps = -(-(len(self._values) - 1) // (most - 1))
            named = [*self._values[:-1:steps], self._values[-1]]
            # The last but one, where it is too near the end to be read.
            if len(named) > 2 and (len(self._values) - 1) % steps:
                del named[-2]
        elif self._log:
            named = [self._low, *_decades(self._low, self._high), self._high]
        else:
            named = [self._low, (self._low + self._high) / 2, self._high]
        return [self.place(v) for v in named], [number(v) for v in named]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten well inside, at most two."""
    span = math.log10(high / low)
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    inside = [10.0**p for p in powers if 0.2 < (p - math.log10(low)) / span < 0.75]
    return inside[:: max(1, len(inside) // 2)][:2]


def number(value: Value) -> str:
    """As short as three significant digits allow: `0.001`, `3e-05`, `32`."""
    return f"{value:.3g}"


def best_quarter(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Of the complete trials, at least one, best first; none of none."""
    complete = [t for t in trials if t.value is not None]
    complete.sort(key=lambda t: (-(t.value or 0.0), t.number))
    return complete[: max(1, round(len(complete) / 4))]


def value_range(name: str, trials: Sequence[TrialRecord]) -> str:
    """The middle half of the values of at least one trial: `0.001 to 0.003`, `2` where alike."""
    values = [t.configuration[name] for t in trials]
    ends = np.quantile(values, [0.25, 0.75], method="nearest")
    return " to ".join(dict.fromkeys(number(v) for v in ends))
