"""A domain and the unit interval: there and back, and equal parts for what is drawn."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from shiftsearch.search.proposing.domains import (
    contains,
    domain_values,
    from_unit,
    to_unit,
    value_at,
)

pytestmark = pytest.mark.unit

RATE = FloatDistribution(1e-4, 1e-2, log=True)
LINEAR = FloatDistribution(-1.0, 3.0)
STEPS = FloatDistribution(0.0, 0.6, step=0.1)
WHOLE = IntDistribution(0, 4)
SIZES = IntDistribution(8, 10, log=True)
NUMBERS = CategoricalDistribution([32, 64, 128])
TEXTS = CategoricalDistribution(["none", "gradual", "surgical"])
SWITCH = CategoricalDistribution([False, True])
ALL = (RATE, LINEAR, STEPS, WHOLE, SIZES, NUMBERS, TEXTS, SWITCH)


@pytest.mark.parametrize("domain", ALL, ids=str)
def test_the_ends_are_0_and_1_and_the_rest_between(domain: BaseDistribution) -> None:
    values = domain_values(domain)
    ends = (values[0], values[-1]) if values is not None else (domain.low, domain.high)  # type: ignore[attr-defined]
    assert [to_unit(domain, value) for value in ends] == [0.0, 1.0]
    drawn = [from_unit(domain, unit / 64) for unit in range(64)]
    assert all(contains(domain, value) for value in drawn)
    places = [to_unit(domain, value) for value in drawn]
    assert places == sorted(places)
    assert set(values or drawn) == set(drawn)


@pytest.mark.parametrize("domain", [RATE, LINEAR], ids=str)
@pytest.mark.parametrize("unit", [0.0, 0.25, 2 / 3, 0.99])
def test_a_range_goes_there_and_back(domain: BaseDistribution, unit: float) -> None:
    assert to_unit(domain, from_unit(domain, unit)) == pytest.approx(unit, abs=1e-12)
    assert from_unit(domain, unit) == value_at(domain, unit)


@pytest.mark.parametrize(
    ("domain", "share"), [(STEPS, 100), (WHOLE, 140), (TEXTS, 700 / 3), (SWITCH, 350)], ids=str
)
def test_steps_and_choices_have_equal_parts(domain: BaseDistribution, share: float) -> None:
    counts = Counter(from_unit(domain, n / 700) for n in range(700))
    assert all(abs(count - share) <= 1 for count in counts.values())


@pytest.mark.parametrize(
    ("domain", "value", "place"),
    [
        (RATE, 1e-3, 0.5),
        (RATE, 1e-5, -0.5),
        (RATE, 0.0, 0.0),
        (LINEAR, 5.0, 1.5),
        (NUMBERS, 64, 0.5),
        (NUMBERS, 100, 1.0),
        (TEXTS, "gradual", 0.5),
        (TEXTS, "slow", 0.0),
        (SWITCH, True, 1.0),
        (CategoricalDistribution([64]), 64, 0.0),
        (IntDistribution(3, 3), 3, 0.0),
    ],
)
def test_places(domain: BaseDistribution, value: Any, place: float) -> None:
    assert math.isclose(to_unit(domain, value), place, abs_tol=1e-12)
