"""The tests of significance are SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact, ttest_ind

from shiftsearch.experiments.report.significance import (
    binomial_tail,
    fisher_greater,
    welch_less,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("successes", "n", "share"), [(0, 5, 0.1), (3, 5, 0.05), (20, 20, 0.5)])
def test_the_tail_of_the_binomial_distribution(successes: int, n: int, share: float) -> None:
    expected = binom.sf(successes - 1, n, share)
    assert binomial_tail(successes, n, share) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "counts",
    [((3, 0), (0, 5)), ((3, 4), (6, 2)), ((0, 4), (0, 9)), ((5, 0), (7, 0)), ((40, 9), (55, 80))],
)
def test_fishers_exact_test(counts: tuple[tuple[int, int], tuple[int, int]]) -> None:
    expected = fisher_exact(counts, alternative="greater").pvalue
    assert fisher_greater(*counts) == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:Precision loss")  # of SciPy, without spread
@pytest.mark.parametrize(("n", "spread"), [(3, 0.01), (40, 0.2), (3, 0.0)])
def test_welchs_test(n: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    values, others = list(0.5 + spread * rng.random(n)), list(0.6 + 0.1 * rng.random(4))
    expected = ttest_ind(values, others, equal_var=False, alternative="less").pvalue
    assert welch_less(values, others) == pytest.approx(expected, rel=1e-12)
