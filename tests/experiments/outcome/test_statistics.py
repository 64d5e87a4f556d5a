"""Intervals against published and independently computed values."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, binomtest

from shiftsearch.experiments.outcome.statistics import (
    difference_of,
    paired_bootstrap,
    paired_scores,
    score_interval,
    wilson,
)
from shiftsearch.model.objective import Score, accuracy, balanced_accuracy, f1_macro

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
        ((0, 10), (0, 20), -0.1611, 0.2775),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    shares = [right / n for right, n in (one, other)]
    bounds = [wilson(share, n) for share, (_, n) in zip(shares, (one, other), strict=True)]
    found = difference_of(shares[0], bounds[0], shares[1], bounds[1])
    assert found == pytest.approx((shares[0] - shares[1], low, high), abs=6e-5)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (1, 2), (441, 542), (525, 542)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys_for_whole_counts(right: int, n: int, level: float) -> None:
    expected = binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson(right / n, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_takes_a_mean_over_replicates_between_whole_counts() -> None:
    low, high = wilson(0.5 + 1 / 30, 10)
    assert wilson(0.5, 10)[0] < low < wilson(0.6, 10)[0]
    assert wilson(0.5, 10)[1] < high < wilson(0.6, 10)[1]


def contained(n: int, accuracies: Iterable[float], level: float = 0.95) -> bool:
    return all(low <= a <= high for a in accuracies for low, high in [wilson(a, n, level)])


@pytest.mark.parametrize("level", [0.5, 0.95, 1 - 0.05 / 26])
def test_wilson_contains_its_accuracy(level: float) -> None:
    """To the last digit: an error bar of -2e-14 % is refused by matplotlib."""
    assert all(contained(n, (0.0, 1.0), level) for n in range(1, 3001))
    assert all(contained(n, [k / n for k in range(n + 1)], level) for n in (*range(1, 61), 541))


@pytest.mark.parametrize("replicates", [2, 3, 7])
def test_wilson_contains_a_mean_over_replicates(replicates: int) -> None:
    for n in (1, 7, 60, 542):
        right = [n] * (replicates - 1)
        means = [fmean(k / n for k in (*right, last)) for last in range(n + 1)]
        assert contained(n, means)
        assert contained(n, [1 - mean for mean in means])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.2, 10), "accuracy is 1.2, but must be in 0..1"),
        ((float("nan"), 10), "accuracy is nan"),
        ((0.5, 0), "n is 0, but must be at least 1"),
        ((0.5, 10, 1.0), "level is 1.0"),
    ],
)
def test_wilson_refuses_what_is_no_proportion(arguments: tuple[float, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wilson(*arguments)


def by_hand(winner: np.ndarray, reference: np.ndarray, resamples: int) -> np.ndarray:
    """The slow twin: images drawn one resample at a time. Quantiles 2.5 % and 97.5 %."""
    rng = np.random.default_rng(1)
    n = len(winner)
    means = []
    for _ in range(resamples):
        drawn = rng.integers(n, size=n)
        means.append((winner[drawn] - reference[drawn]).mean())
    return np.quantile(means, [0.025, 0.975])


def test_bootstrap_agrees_with_drawing_images_one_by_one() -> None:
    rng = np.random.default_rng(0)
    winner, reference = rng.integers(0, 4, 300) / 3, rng.integers(0, 3, 300) / 3
    difference, low, high = paired_bootstrap(winner, reference)
    assert difference == pytest.approx(winner.mean() - reference.mean())
    assert [low, high] == pytest.approx(by_hand(winner, reference, 4000), abs=0.004)
    assert high - low > 0.08  # so that the tolerance above is a small part of it


def test_bootstrap_is_paired_and_seeded() -> None:
    hard = np.tile([0.0, 1.0], 50)
    shifted = np.concatenate([hard[:-2], [1.0, 1.0]])  # one image better, all others alike
    difference, low, high = paired_bootstrap(shifted, hard)
    assert difference == pytest.approx(0.01)
    assert low == 0.0
    assert high <= 0.04  # unpaired it would be about 0.15
    assert paired_bootstrap(shifted, hard) == (difference, low, high)
    mixed = np.random.default_rng(0).random(50)
    assert paired_bootstrap(mixed, mixed[::-1], 1) != paired_bootstrap(mixed, mixed[::-1], 2)
    assert paired_bootstrap(hard, hard) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("replicates", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 10, 60])
def test_the_interval_of_equal_differences_contains_their_mean(replicates: int, n: int) -> None:
    for right in range(replicates + 1):
        winner = np.full(n, right / replicates)
        difference, low, high = paired_bootstrap(winner, np.zeros(n), resamples=20)
        assert low <= difference <= high
        assert high - low < 1e-9


def test_bootstrap_refuses_unlike_shapes_and_no_images() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        paired_bootstrap(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="n >= 1"):
        paired_bootstrap(np.ones(0), np.ones(0))


def test_the_interval_of_balanced_accuracy_is_that_of_the_mean_of_its_classes() -> None:
    """The slow twin draws the share of each class from its own beta distribution."""
    matrix = np.array([[80.0, 10, 10], [2, 15, 3], [0, 1, 4]])
    rng = np.random.default_rng(1)
    shares = [rng.beta(r + 0.5, n - r + 0.5, 40_000) for r, n in ((80, 100), (15, 20), (4, 5))]
    expected = np.quantile(np.mean(shares, axis=0), [0.025, 0.975])
    assert score_interval(balanced_accuracy, matrix) == pytest.approx(expected, abs=0.005)
    # accuracy of two classes of which one is empty: Jeffreys' interval of a proportion
    low, high = score_interval(accuracy, np.array([[45.0, 5.0], [0.0, 0.0]]))
    assert (low, high) == pytest.approx(beta(45.5, 5.5).interval(0.95), abs=0.005)


@pytest.mark.parametrize("score", [balanced_accuracy, f1_macro])
def test_a_perfect_score_is_not_certain(score: Score) -> None:
    low, high = score_interval(score, np.diag([40.0, 5.0, 0.0]))
    assert low < 0.95
    assert high == 1.0
    assert score_interval(score, np.diag([40.0, 5.0, 0.0])) == (low, high)  # seeded


def test_paired_scores_agree_with_drawing_images_one_by_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, size=200, p=[0.7, 0.2, 0.1])

    def guesses(right: float) -> NDArray[np.int64]:
        wrong = rng.integers(3, size=(2, 200))
        return np.where(rng.random((2, 200)) < right, labels, wrong)

    winner, reference = guesses(0.8), guesses(0.5)

    def mean_score(rows: NDArray[np.int64], drawn: NDArray[np.int64]) -> float:
        scores = []
        for row in rows:
            matrix = np.zeros((3, 3))
            np.add.at(matrix, (labels[drawn], row[drawn]), 1)
            scores.append(float(balanced_accuracy(matrix)))
        return float(np.mean(scores))

    everything = np.arange(200)
    difference, low, high = paired_scores(balanced_accuracy, labels, winner, reference)
    assert difference == pytest.approx(
        mean_score(winner, everything) - mean_score(reference, everything)
    )
    own = [np.flatnonzero(labels == label) for label in range(3)]
    draws = [np.concatenate([rng.choice(o, len(o)) for o in own]) for _ in range(1500)]
    slow = [mean_score(winner, d) - mean_score(reference, d) for d in draws]
    assert [low, high] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.015)
    assert high - low > 0.1
    same = paired_scores(balanced_accuracy, labels, winner, winner, resamples=100)
    assert same == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_paired_scores_of_accuracy_are_the_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(4, size=150)
    wrong = (labels + 1) % 4
    winner, reference = (
        np.where(rng.random((2, 150)) < share, labels, wrong) for share in (0.9, 0.6)
    )
    found = paired_scores(accuracy, labels, winner, reference)
    rights = [(rows == labels).mean(0) for rows in (winner, reference)]
    assert found == pytest.approx(paired_bootstrap(*rights), abs=0.01)
