"""Configurations that were tried are found again; a finite space is listed whole."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from shiftsearch.search.proposing.conditions import NONE, Conditions
from shiftsearch.search.proposing.tried import Tried, every_configuration

pytestmark = pytest.mark.unit

KIND = CategoricalDistribution(["a", "b"])
COUNT = IntDistribution(1, 3)
SPACE = {"kind": KIND, "count": COUNT}


def test_a_configuration_counts_as_tried_by_its_steps_and_without_single_values() -> None:
    tried = Tried({"step": FloatDistribution(0, 0.6, step=0.1), "one": IntDistribution(4, 4)})
    assert {"step": 0.3} not in tried
    tried.add({"step": 3 * 0.1, "one": 4})
    assert 3 * 0.1 != 0.3
    assert {"step": 0.3} in tried
    assert {"step": 0.4} not in tried


def test_an_absent_value_is_a_value_of_its_own() -> None:
    tried = Tried(SPACE)
    tried.add({"kind": "a"})
    assert {"kind": "a"} in tried
    assert {"kind": "a", "count": 1} not in tried


def test_a_finite_space_is_listed_whole_with_the_given_values() -> None:
    found = list(every_configuration(SPACE, {}, NONE))
    assert found == [{"kind": k, "count": n} for k in "ab" for n in (1, 2, 3)]
    assert list(every_configuration(SPACE, {"count": 2}, NONE)) == found[1::3]
    endless = {**SPACE, "rate": FloatDistribution(0, 1)}
    assert list(every_configuration(endless, {}, NONE)) == []
    assert len(list(every_configuration(endless, {"rate": 0.5}, NONE))) == 6


def test_a_hyperparameter_is_listed_only_where_it_exists() -> None:
    conditions = Conditions({"count": {"kind": ("b",)}})
    # The order of the space does not matter: the condition's hyperparameter comes first.
    found = list(every_configuration({"count": COUNT, "kind": KIND}, {}, conditions))
    assert found == [{"kind": "a"}, *({"kind": "b", "count": n} for n in (1, 2, 3))]
