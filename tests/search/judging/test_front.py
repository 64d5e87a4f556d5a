"""The Pareto front against its definition, and the trials that represent it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from shiftsearch.search.judging.front import chosen, front, spread
from shiftsearch.search.study.records import TrialRecord, best_families
from tests.made_results import made_result

pytestmark = pytest.mark.unit

COSTS = ("parameters", "latency_ms")


def trial(number: int, value: float, *costs: float, branch_of: int | None = None) -> TrialRecord:
    configuration = {"baseline.learning_rate": 1e-3 * (number + 1)}
    result = made_result(value)
    return TrialRecord(
        number,
        "complete",
        "sampled",
        value,
        configuration,
        result,
        "",
        1.0,
        branch_of,
        costs=dict(zip(COSTS, costs, strict=False)),
    )


def numbers(trials: Sequence[TrialRecord]) -> list[int]:
    return [t.number for t in trials]


def test_the_front_is_what_no_other_trial_dominates() -> None:
    draw = random.Random(0)
    trials = [
        trial(n, draw.randint(0, 9) / 10, draw.randint(1, 9), draw.randint(1, 9))
        for n in range(60)
    ]
    for count in (1, 2):
        costs = COSTS[:count]

        def values(t: TrialRecord, costs: Sequence[str] = costs) -> tuple[float, ...]:
            return (-(t.value or 0.0), *(t.costs[name] for name in costs))

        dominated = {
            a.number
            for a, b in itertools.permutations(trials, 2)
            if values(a) != values(b)
            and all(y <= x for x, y in zip(values(a), values(b), strict=True))
        }
        left = {values(t): t.number for t in reversed(trials) if t.number not in dominated}
        found = front(trials, costs)
        assert sorted(numbers(found)) == sorted(left.values())
        assert [t.value for t in found] == sorted((t.value for t in found), reverse=True)


def test_only_complete_trials_that_keep_the_constraints_are_on_the_front() -> None:
    best = replace(trial(0, 0.9, 10), infeasible=True)
    refused = replace(trial(1, 0.0, 1), state="refused", value=None, result=None, reason="large")
    old = replace(trial(2, 0.8, 10), costs={})
    assert numbers(front([best, refused, old, trial(3, 0.5, 20)], COSTS[:1])) == [3]


def test_the_chosen_lie_far_apart_and_the_best_is_among_them() -> None:
    sizes = (1e6, 9e5, 8e5, 1e5, 1e3)
    found = [trial(n, 0.9 - 0.01 * n, size) for n, size in enumerate(sizes)]
    assert numbers(front(found, COSTS[:1])) == [0, 1, 2, 3, 4]
    for count, expected in ((1, [0]), (2, [0, 4]), (3, [0, 3, 4]), (9, [0, 1, 2, 3, 4])):
        assert numbers(spread(found, COSTS[:1], count)) == expected
    assert spread([], COSTS[:1], 3) == []


def test_the_front_is_retrained_first_and_then_the_best_others() -> None:
    trials = [
        trial(0, 0.9, 100),
        trial(1, 0.8, 100),
        trial(2, 0.7, 100, branch_of=0),
        trial(3, 0.6, 10),
    ]
    assert numbers(chosen(trials, COSTS[:1], 1)) == [0]
    assert numbers(chosen(trials, COSTS[:1], 3)) == [0, 3, 1]
    for count in range(1, 5):
        assert chosen(trials, (), count) == best_families(trials, count)
