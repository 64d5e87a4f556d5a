"""Intervals for accuracies; they cover the choice of images, not of seeds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


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
    z = float(norm.ppf(0.5 + level / 2))
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(accuracy * (1 - accuracy) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    # The exact interval contains the accuracy, but rounding can exclude it at 0 and 1.
    return max(0.0, min(accuracy, centre - half)), min(1.0, max(accuracy, centre + half))


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


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but must be above 0 and below 1")
