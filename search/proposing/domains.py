"""Domains: the values of one hyperparameter, and their mapping to the unit interval.

A domain is one of Optuna's distributions: a range, with steps or a logarithmic scale, or choices.
The sampler's start-up, the surrogate and the figures use this mapping.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from shiftsearch.model.hyperparameters import Value


def domain_values(distribution: BaseDistribution) -> Sequence[Any] | None:
    """The values of a domain in order, never beyond its ends; None for a range without steps."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    # 6 * 0.1 is above 0.6, which Optuna would not accept as a value of the domain.
    return [min(low + k * step, high) for k in range(round((high - low) / step) + 1)]


def describe(distribution: BaseDistribution) -> str:
    """A domain as short text: `0.0001 to 0.01 (log)`, `0 to 4 (step 1)`, `one of 32, 64`."""
    if isinstance(distribution, CategoricalDistribution):
        return "one of " + ", ".join(repr(c) for c in distribution.choices)
    d = _range(distribution)
    # Twelve digits, not six: this text is compared when a run is continued.
    text = f"{d.low:.12g} to {d.high:.12g}"
    if d.log:
        return text + " (log)"
    return text if d.step is None else f"{text} (step {d.step:.12g})"


def on_grid(distribution: BaseDistribution, value: Value) -> Value:
    """The value moved onto the steps of its range, where it has steps."""
    d = distribution
    if isinstance(d, CategoricalDistribution) or isinstance(value, str):
        return value
    if not isinstance(d, FloatDistribution | IntDistribution) or d.step is None:
        return value
    steps = round((value - d.low) / d.step)
    # 12 significant digits: 0.30000000000000004 and 0.3 are one value.
    return float(f"{d.low + steps * d.step:.12g}")


def contains(distribution: BaseDistribution, value: Value) -> bool:
    """Whether the domain contains the value, with regard to steps."""
    d = distribution
    if isinstance(d, CategoricalDistribution):
        return value in d.choices
    if isinstance(value, str) or not isinstance(d, FloatDistribution | IntDistribution):
        return False
    if not d.low <= value <= d.high:
        return False
    return d.step is None or math.isclose(float(on_grid(d, value)), value, rel_tol=1e-9)


def nearest_value(distribution: BaseDistribution, value: Value) -> Value:
    """The end or choice nearest to a value outside; the first choice if choices are text."""
    d = distribution
    if isinstance(d, CategoricalDistribution):
        return d.choices[_nearest_choice(d, value)]  # type: ignore[return-value]
    if isinstance(value, str) or not isinstance(d, FloatDistribution | IntDistribution):
        raise TypeError(f"{value!r} cannot be moved into {distribution}")
    return min(max(value, d.low), d.high)


# ---- the unit interval


def to_unit(distribution: BaseDistribution, value: Value) -> float:
    """The position of a value: the ends of a domain are 0 and 1, choices have equal distances.

    A range is linear, or logarithmic with `log`. A value outside a range gives a position outside
    0 to 1. A value that is not a choice has the position of the nearest choice.
    """
    if isinstance(distribution, CategoricalDistribution):
        return _nearest_choice(distribution, value) / max(1, len(distribution.choices) - 1)
    d = _range(distribution)
    low, high, at = float(d.low), float(d.high), float(value)
    if d.log:
        low, high, at = np.log(low), np.log(high), np.log(at) if at > 0 else np.log(low)
    return float((at - low) / (high - low)) if high > low else 0.0


def from_unit(distribution: BaseDistribution, unit: float) -> Any:
    """The value at `unit` in [0, 1); all steps or choices have an equal part of it."""
    d = distribution
    if isinstance(d, IntDistribution) and d.log:
        # A whole number covers half a unit below and above it, also the first and the last.
        return min(max(round(_between(d.low - 0.5, d.high + 0.5, unit, log=True)), d.low), d.high)
    values = domain_values(d)
    return value_at(d, unit) if values is None else values[int(unit * len(values))]


def value_at(distribution: BaseDistribution, unit: float) -> float:
    """The inverse of `to_unit` on a range; steps are ignored."""
    d = _range(distribution)
    value = _between(d.low, d.high, unit, log=d.log)
    return min(max(value, d.low), d.high) if d.log else value


def _between(low: float, high: float, unit: float, *, log: bool) -> float:
    return float(low * (high / low) ** unit if log else low + unit * (high - low))


def _range(distribution: BaseDistribution) -> FloatDistribution | IntDistribution:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution
    raise TypeError(f"{type(distribution).__name__} is not a domain of this space")


def _nearest_choice(distribution: CategoricalDistribution, value: Value) -> int:
    choices = distribution.choices
    if value in choices:
        return choices.index(value)
    if isinstance(value, str):
        return 0
    gaps = [abs(c - value) if isinstance(c, int | float) else math.inf for c in choices]
    return gaps.index(min(gaps))
