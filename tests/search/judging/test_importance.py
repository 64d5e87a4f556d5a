"""A planted hyperparameter is found, noise is not, and trials of one baseline count as one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.judging.importance import LEAST, Importance, importances
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.study.records import TrialRecord
from tests.made_results import made_result

pytestmark = pytest.mark.unit

RATE, FROZEN, ROTATION = (
    "fine_tune.learning_rate",
    "fine_tune.frozen_layers",
    "baseline.augmentation.rotation",
)
SPACE = Space.parse(
    {
        ROTATION: {"low": 0, "high": 20},
        RATE: {"low": 1e-4, "high": 1e-2, "log": True},
        FROZEN: {"low": 0, "high": 4},
    }
)
Truth = Callable[[dict[str, Value]], float]


def trials_of(
    truth: Truth, count: int, branches: int = 1, seed: int = 0, luck: float = 0.0
) -> list[TrialRecord]:
    """Random trials; each baseline has several fine-tunes and its own luck, with noise of 0.01."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        if number % branches == 0:
            root, rotation = number, rng.uniform(0, 20)
            shared = rng.normal(0, luck) if luck else 0.0
        values = {ROTATION: rotation, RATE: 10 ** rng.uniform(-4, -2)}
        configuration = SPACE.complete(values | {FROZEN: int(rng.integers(5))})
        value = truth(configuration) + shared + rng.normal(0, 0.01)
        result = made_result(value)
        record = TrialRecord(number, "complete", "sampled", value, configuration, result, "", 1.0)
        found.append(record if number == root else replace(record, branch_of=root))
    return found


def found_in(trials: list[TrialRecord], seed: int = 0) -> Importance:
    found = importances(trials, SPACE, seed)
    assert found is not None
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use fewer halves and shuffles, for tests that do not depend on chance."""
    monkeypatch.setattr("shiftsearch.search.judging.importance._HALVES", 5)
    monkeypatch.setattr("shiftsearch.search.judging.importance._SHUFFLES", 9)


def by_rate(configuration: dict[str, Value]) -> float:
    return 0.7 + 0.1 * (math.log10(configuration[RATE]) + 4)


def by_rotation(configuration: dict[str, Value]) -> float:
    return 0.7 + 0.005 * configuration[ROTATION]


def constant(configuration: dict[str, Value]) -> float:
    return 0.8


@pytest.mark.parametrize(("truth", "name"), [(by_rate, RATE), (by_rotation, ROTATION)])
@pytest.mark.slow(reason="150 looks at 40 trials: 0.5 s on a core of its own")
def test_what_was_planted_stands_out_alone(truth: Truth, name: str) -> None:
    found = found_in(trials_of(truth, 40))
    assert found.parameters[0].name == name
    assert [s.name for s in found.parameters if s.stands_out] == [name]
    assert found.parameters[0].importance > 0.6
    assert sum(s.importance for s in found.parameters) == pytest.approx(1)
    assert all(0 <= s.interval[0] <= s.importance <= s.interval[1] <= 1 for s in found.parameters)
    assert (found.trials, found.best, found.baselines, found.outside) == (40, 20, 40, 0)


@pytest.mark.slow(reason="150 looks at 36 trials: 0.5 s on a core of its own")
def test_luck_of_few_baselines_is_not_taken_for_their_hyperparameters() -> None:
    """Six baselines of six fine-tunes; with trials shuffled one by one, rotation stands out."""
    lucky = found_in(trials_of(constant, 36, branches=6, seed=3, luck=0.05))
    assert {s.name: s.independent for s in lucky.parameters} == {ROTATION: 6, RATE: 36, FROZEN: 36}
    assert lucky.baselines == 6
    assert lucky.parameters[0].name == ROTATION
    assert not any(s.stands_out for s in lucky.parameters)


@pytest.mark.usefixtures("quick")
def test_stopped_trials_count_with_their_last_rung_others_without_a_value_not() -> None:
    trials = trials_of(by_rate, 40)
    cut = sorted(t.value or 0.0 for t in trials)[20]
    stopped = [
        replace(t, state="pruned", value=None, result=None, intermediate={1: 0.1, 3: t.value})
        if t.value is not None and t.value < cut
        else t
        for t in trials
    ]
    failed = replace(
        trials[0], number=40, state="failed", value=None, result=None, reason="diverged"
    )
    assert found_in([*stopped, failed]) == found_in(trials)


@pytest.mark.usefixtures("quick")
def test_a_reference_outside_the_space_is_left_out_and_counted() -> None:
    trials = trials_of(by_rate, 20)
    far = replace(trials[0], number=20, role="reference", configuration=REFERENCE | {RATE: 0.1})
    other = replace(far, configuration=dict(REFERENCE) | {"fine_tune.dropout": 0.0})
    found, alone = found_in([*trials, far, other]), found_in(trials)
    assert found.outside == 2
    assert found.parameters == alone.parameters


@pytest.mark.usefixtures("quick")
def test_the_same_trials_and_seed_give_the_same_shares() -> None:
    trials = trials_of(by_rate, 20, branches=2)
    assert found_in(trials) == found_in(trials)
    assert found_in(trials, seed=1) != found_in(trials)


@pytest.mark.usefixtures("quick")
def test_too_few_or_equal_trials_say_nothing() -> None:
    trials = trials_of(by_rate, LEAST)
    assert importances(trials, SPACE, 0) is not None
    assert importances(trials[1:], SPACE, 0) is None
    assert importances([replace(t, value=0.5) for t in trials], SPACE, 0) is None
    assert importances(trials, Space({}, {}), 0) is None


@pytest.mark.usefixtures("quick")
def test_of_many_trials_whole_baselines_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shiftsearch.search.judging.importance.MOST", 40)
    trials = trials_of(by_rate, 90, branches=3)
    found = found_in(trials)
    assert (found.trials, found.baselines) == (40, 14)
    assert (found.unused, found.outside) == (50, 0)
    assert found == found_in(trials)
