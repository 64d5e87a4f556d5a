"""How probable chance alone makes a difference: three tests with one side.

They are those of `scipy.stats`, whose import takes a second of processor time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

from scipy.special import bdtrc, stdtr


def binomial_tail(successes: int, n: int, share: float) -> float:
    """Probability of at least `successes` (0..n) of `n` draws, each a success with `share`."""
    return float(bdtrc(successes - 1, n, share))


def fisher_greater(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Fisher's exact test of two pairs of counts: whether hits are more frequent in `one`.

    Args:
        one, other: hits and misses, at least 0.

    Returns:
        Probability of at least as many hits in `one`, in 0..1, given both sizes and all hits.
    """
    size, rest, hits = sum(one), sum(other), one[0] + other[0]
    ways = [math.comb(size, k) * math.comb(rest, hits - k) for k in range(one[0], hits + 1)]
    return sum(ways) / math.comb(size + rest, hits)


def welch_less(values: Sequence[float], others: Sequence[float]) -> float:
    """Welch's t-test of two samples: whether the mean of `values` is lower than of `others`.

    Args:
        values, others: two or more each, and not all equal within both.

    Returns:
        Probability of such a difference of the means or a larger one, in 0..1.
    """
    parts = [variance(group) / len(group) for group in (values, others)]
    error = sum(parts)
    degrees = error**2 / sum(
        part**2 / (len(group) - 1) for part, group in zip(parts, (values, others), strict=True)
    )
    return float(stdtr(degrees, (fmean(values) - fmean(others)) / math.sqrt(error)))
