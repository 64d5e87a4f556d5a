"""The sequence is SciPy's, point by point."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from shiftsearch.search.proposing.sobol_sequence import scrambled_point

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("dimensions", "seed"), [(1, 0), (3, 7), (40, 2**32 - 1)])
def test_each_point_is_scipys(dimensions: int, seed: int) -> None:
    expected = qmc.Sobol(dimensions, scramble=True, rng=seed).random(256)
    for number in (*range(9), 100, 255):
        found = scrambled_point(dimensions, seed, number)
        np.testing.assert_array_equal(found, expected[number])


def test_a_point_is_drawn_without_those_before_it() -> None:
    engine = qmc.Sobol(5, scramble=True, rng=1).fast_forward(99_999)
    np.testing.assert_array_equal(scrambled_point(5, 1, 99_999), engine.random(1)[0])
