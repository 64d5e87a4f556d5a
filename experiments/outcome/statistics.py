"""Intervals for accuracies and other scores over images, and of means over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from shiftsearch.model.objective import Score


def wilson(accuracy: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (E. B. Wilson, JASA 22, 1927, pp. 209-212).

    Args:
        accuracy: in 0..1; may be a mean over replicates on the same images.
        n: number of images; replicates do not add to it.
        level: confidence level, in 0..1 exclusive.

    Returns:
        Low and high, in 0..1, with low <= accuracy <= high.

    Raises:
        ValueError: outside these ranges.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}, but must be in 0..1")
    if n < 1:
        raise ValueError(f"n is {n}, but must be at least 1")
    _check_level(level)
    z = float(ndtri(0.5 + level / 2))
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(accuracy * (1 - accuracy) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    # The exact interval contains the accuracy, but rounding can exclude it at 0 and 1.
    return max(0.0, min(accuracy, centre - half)), min(1.0, max(accuracy, centre + half))


def difference_of(
    one: float, bounds: Sequence[float], other: float, other_bounds: Sequence[float]
) -> tuple[float, float, float]:
    """The difference of two proportions of different images, from their score intervals.

    Source: Newcombe 1998, Statistics in Medicine 17, pp. 873-890, method 10.

    Args:
        one, other: the proportions, in 0..1.
        bounds, other_bounds: their intervals by `wilson`, of equal level.

    Returns:
        One minus other, and its interval's low and high, all in -1..1.
    """
    difference = one - other
    below = math.hypot(one - bounds[0], other_bounds[1] - other)
    above = math.hypot(bounds[1] - one, other - other_bounds[0])
    return difference, difference - below, difference + above


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """The mean with its interval, low and high (Student's t).

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"got {len(values)} values, but an interval needs at least 2")
    centre = fmean(values)
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * stdev(values)
    half /= len(values) ** 0.5
    return centre, centre - half, centre + half


def paired_bootstrap(
    winner: NDArray[np.floating],
    reference: NDArray[np.floating],
    seed: int = 0,
    resamples: int = 10_000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Percentile bootstrap of a mean paired difference (B. Efron, Annals of Statistics 7, 1979).

    Images are drawn with replacement, and each drawn image counts for both configurations.

    Args:
        winner, reference: [n] floating, in 0..1: each image's correctness averaged over
            replicates, the same images in the same order.
        seed: seed of the generator that draws.
        resamples: number of resamples.
        level: confidence level, in 0..1 exclusive.

    Returns:
        Mean of winner minus reference, and its interval's low and high, all in -1..1, with
        low <= mean <= high.

    Raises:
        ValueError: for other shapes, no images, no resamples or a level out of range.
    """
    if winner.shape != reference.shape or winner.ndim != 1 or len(winner) == 0:
        raise ValueError(
            f"shapes are {winner.shape} and {reference.shape}, but must be one [n] with n >= 1"
        )
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}, but must be at least 1")
    _check_level(level)
    n = len(winner)
    difference = winner.astype(np.float64) - reference.astype(np.float64)
    # Instead of n of n images, draw how often each distinct difference occurs. With r replicates
    # this table has at most 2 r^2 + 1 columns instead of n.
    values, counts = np.unique(difference.round(12), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)
    means = drawn @ values / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = float(difference.mean())
    # If all differences are equal, rounding could put the mean outside.
    return mean, min(mean, float(low)), max(mean, float(high))


def score_interval(
    score: Score, confusion: NDArray[Any], seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Credible interval of a score of a confusion matrix.

    The row of each class with images is drawn from a Dirichlet distribution: its counts, 1/2 added
    to the right prediction and 1/2 spread over the others. For balanced accuracy this is the
    posterior of Brodersen et al. 2010, doi 10.1109/ICPR.2010.764, section 3, with Jeffreys' prior.
    A bootstrap would have no width where all images are right.

    Args:
        score: see `model.objective`.
        confusion: [classes, classes] counts; may be means over replicates on the same images,
            which do not add to the number of images.
        seed: seed of the generator that draws.
        level: confidence level, in 0..1 exclusive.

    Returns:
        Low and high, in 0..1, with low <= the score <= high.
    """
    _check_level(level)
    classes = len(confusion)
    images = confusion.sum(1, keepdims=True)
    prior = np.full((classes, classes), 0.5 / max(1, classes - 1))
    np.fill_diagonal(prior, 0.5)
    draws = min(10_000, max(1000, 10**7 // classes**2))
    shape = np.where(images > 0, confusion + prior, 0.0)
    rows = np.random.default_rng(seed).standard_gamma(shape, size=(draws, classes, classes))
    sums = rows.sum(-1, keepdims=True)
    values = score(images * rows / np.where(sums > 0, sums, 1))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    value = float(score(confusion))
    return min(value, float(low)), max(value, float(high))


def paired_scores(
    score: Score,
    labels: NDArray[np.int64],
    winner: NDArray[np.int64],
    reference: NDArray[np.int64],
    seed: int = 0,
    resamples: int = 10_000,
) -> tuple[float, float, float]:
    """Percentile bootstrap of a paired difference of scores, like `paired_bootstrap`.

    Images are drawn class by class, as many as the class has, because a class that is not drawn
    would change what the score means.

    Args:
        score: see `model.objective`.
        labels: [n] true classes, n >= 1.
        winner, reference: [replicates, n] predicted classes of the same images in the same order;
            a score is the mean over the replicates.
        seed: seed of the generator that draws.
        resamples: number of resamples.

    Returns:
        Winner minus reference, and its 95 % interval's low and high, all in -1..1, with
        low <= difference <= high.
    """
    predicted = np.concatenate([winner, reference])
    classes = int(max(labels.max(), predicted.max())) + 1
    # Images with the same label and predictions are alike: draw how often each kind occurs.
    kinds, counts = np.unique(np.vstack([labels, predicted]), axis=1, return_counts=True)
    signs = [1 / len(winner)] * len(winner) + [-1 / len(reference)] * len(reference)
    cells = np.eye(classes**2)
    places = [kinds[0] * classes + row for row in kinds[1:]]

    def differences(times: NDArray[np.float64]) -> NDArray[np.float64]:
        """[m] differences, for [m, kinds] numbers of images."""
        found = np.zeros(len(times))
        for sign, place in zip(signs, places, strict=True):
            found += sign * score((times @ cells[place]).reshape(-1, classes, classes))
        return found

    rng, drawn = np.random.default_rng(seed), []
    strata = [np.flatnonzero(kinds[0] == label) for label in np.unique(kinds[0])]
    for first in range(0, resamples, 500):  # in parts, which bounds the memory
        times = np.empty((min(500, resamples - first), len(counts)))
        for own in strata:
            n = counts[own].sum()
            times[:, own] = rng.multinomial(n, counts[own] / n, size=len(times))
        drawn.append(differences(times))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    difference = float(differences(counts[None].astype(np.float64))[0])
    return difference, min(difference, float(low)), max(difference, float(high))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but must be above 0 and below 1")
