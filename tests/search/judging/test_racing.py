"""OCBA's shares by hand: the best and its closest rivals get the replicates."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from shiftsearch.search.judging.racing import Retrain, next_replicates

pytestmark = pytest.mark.unit

NOISY = (-0.01, 0.01)  # around a mean; standard deviation 0.01 * sqrt(2)


def around(*means: float) -> list[list[float]]:
    return [[mean + part for part in NOISY] for mean in means]


def test_a_far_configuration_gets_nothing_and_two_close_ones_share() -> None:
    given = Counter(next_replicates(around(0.90, 0.60, 0.901, 0.62), 10))
    assert given == {0: 5, 2: 5}


def test_the_shares_are_those_of_the_paper() -> None:
    """Differences d and 2 d from the best: weights 1, 1/4, and sqrt(1 + 1/16) of the best."""
    given = Counter(next_replicates(around(0.90, 0.88, 0.86), 2994))
    total = 1 + 1 / 4 + math.sqrt(1 + 1 / 16)
    shares = [math.sqrt(1 + 1 / 16) / total, 1 / total, 1 / 4 / total]
    for index, share in enumerate(shares):
        assert given[index] + 2 == pytest.approx(3000 * share, abs=1)


def test_the_difference_counts_squared() -> None:
    given = Counter(next_replicates(around(0.90, 0.87, 0.81), 2994))
    assert (given[1] + 2) / (given[2] + 2) == pytest.approx(9, rel=0.02)


def test_two_configurations_get_the_same() -> None:
    assert Counter(next_replicates(around(0.9, 0.5), 6)) == {0: 3, 1: 3}


def test_a_round_continues_where_the_last_one_ended() -> None:
    groups = around(0.90, 0.88, 0.86)
    groups[1] += [0.88] * 7  # has more than its share
    assert 1 not in next_replicates(groups, 3)


@pytest.mark.parametrize(
    "groups",
    [
        [[0.9], [0.5], [0.7]],  # the noise is unknown
        [[0.9, 0.9], [0.5, 0.5], [0.7, 0.7]],  # there is none
    ],
)
def test_without_noise_the_fewest_replicates_come_first(groups: list[list[float]]) -> None:
    assert next_replicates(groups, 5) == [0, 1, 2, 0, 1]
    assert next_replicates([[0.9, 0.9], *groups[1:]], 1) == [0 if len(groups[0]) == 2 else 1]


def test_equal_means_get_the_same() -> None:
    assert Counter(next_replicates(around(0.9, 0.9, 0.9), 300)) == pytest.approx(
        {0: 116, 1: 82, 2: 102}, abs=40
    )


def test_one_configuration_gets_all_and_nothing_is_given_for_nothing() -> None:
    assert next_replicates(around(0.9), 3) == [0, 0, 0]
    assert next_replicates(around(0.9, 0.8), 0) == []


@pytest.mark.parametrize(
    ("settings", "configurations", "first", "all_"),
    [
        (Retrain(), 4, 2, 12),
        (Retrain(), 2, 3, 6),
        (Retrain(replicates=1), 4, 1, 4),
        (Retrain(top_k=2, replicates=5, budget=9), 2, 4, 9),
        (Retrain(top_k=4, replicates=3, budget=25), 5, 2, 25),
    ],
)
def test_the_first_replicates_and_all(
    settings: Retrain, configurations: int, first: int, all_: int
) -> None:
    assert settings.problems() == []
    assert settings.first(configurations) == first
    assert settings.trainings(configurations) == all_


def test_a_budget_below_the_first_replicates_is_refused() -> None:
    assert Retrain(top_k=3, replicates=3, budget=9).problems() == []
    [problem] = Retrain(top_k=3, replicates=3, budget=8).problems()
    assert problem.startswith("retrain.budget: 8, but must be at least 9: 2 for each of top_k 3")
