"""A sampler with several objectives: both ends of the front are proposed, one value is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from shiftsearch.search.proposing.evidence import restricted, trained
from shiftsearch.search.proposing.samplers import StageSampler
from shiftsearch.search.proposing.space import Space

pytestmark = pytest.mark.unit

SPACE = Space.parse(
    {
        "baseline": {"dropout": {"low": 0.0, "high": 0.9}},
        "fine_tune": {"dropout": {"low": 0.0, "high": 0.9}},
    }
).distributions
START_UP = 5


def ended(number: int) -> FrozenTrial:
    """The larger the baseline's dropout the better, and the more parameters."""
    x, y = (number * 0.37) % 0.9, (number * 0.61) % 0.9
    return create_trial(
        value=x - (y - 0.4) ** 2,
        params={"baseline.dropout": x, "fine_tune.dropout": y},
        distributions=SPACE,
        user_attrs={"costs": {"parameters": 1000.0**x, "multiply_adds": 1.0}},
    )


def refused(x: float) -> FrozenTrial:
    return create_trial(
        state=TrialState.PRUNED,
        params={"baseline.dropout": x, "fine_tune.dropout": 0.5},
        distributions=SPACE,
        constraints={"max_parameters": x},
        user_attrs={"costs": {"parameters": 1000.0**x}},
    )


def draws(
    trials: Sequence[FrozenTrial], costs: Sequence[str], name: str = "tpe"
) -> list[dict[str, float]]:
    found = []
    for seed in range(12):
        sampler = StageSampler(name, seed, 90, SPACE, start_up=START_UP, costs=costs)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(trials)
        found.append(study.ask(dict(SPACE)).params)
    return found


@pytest.mark.parametrize("name", ["tpe", "tpe-univariate"])
def test_small_networks_are_proposed_only_if_size_counts(name: str) -> None:
    trials = [ended(n) for n in range(40)]
    one = [d["baseline.dropout"] for d in draws(trials, (), name)]
    two = [d["baseline.dropout"] for d in draws(trials, ("parameters",), name)]
    assert fmean(one) > 0.65
    assert fmean(two) < fmean(one) - 0.15
    assert min(two) < 0.2


def test_the_fine_tune_is_still_drawn_near_its_best() -> None:
    found = draws([ended(n) for n in range(40)], ("parameters",))
    assert abs(fmean(d["fine_tune.dropout"] for d in found) - 0.4) < 0.12


def test_refused_trials_are_no_start_up_and_are_avoided() -> None:
    trials = [ended(n) for n in range(START_UP - 1)]
    more = [refused(0.5 + 0.01 * n) for n in range(20)]
    assert len(trained([*trials, *more])) == START_UP - 1
    sobol = draws(trials, ())
    assert draws([*trials, *more], ()) == sobol
    trials = [ended(n) for n in range(40)]
    avoiding = draws([*(t for t in trials if t.params["baseline.dropout"] < 0.5), *more], ())
    assert fmean(d["baseline.dropout"] for d in avoiding) < 0.5


def test_a_copy_has_the_costs_as_values_and_keeps_its_constraints() -> None:
    copy = restricted(ended(3), {"baseline.dropout": SPACE["baseline.dropout"]}, ["parameters"])
    parameters = ended(3).user_attrs["costs"]["parameters"]
    assert copy.values == [ended(3).value, math.log(parameters)]
    assert list(copy.params) == ["baseline.dropout"]
    assert restricted(refused(0.5), SPACE, ["parameters"]).constraints == {"max_parameters": 0.5}
