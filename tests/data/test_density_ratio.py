"""Weights by density ratio against densities that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shiftsearch.data.density_ratio import CLIP, FOLDS, SIDE, density_ratio
from shiftsearch.data.weights import effective_number

pytestmark = pytest.mark.unit


def images(values: NDArray[np.float64], size: tuple[int, int] = (16, 18)) -> NDArray[np.float32]:
    """One image for each value, which is the brightness of all its pixels."""
    return np.ones((len(values), *size), np.float32) * values[:, None, None].astype(np.float32)


def test_weights_are_the_ratio_of_the_densities() -> None:
    """Two normal densities with one variance, so that the logarithm of their ratio is linear."""
    rng = np.random.default_rng(0)
    training, target = rng.normal(0.5, 0.1, 1500), rng.normal(0.55, 0.1, 500)
    found = density_ratio(images(training), images(target))
    expected = np.exp((0.05 / 0.01) * (training - 0.525))
    expected = np.clip(expected, 1 / CLIP, CLIP)
    assert found.mean() == pytest.approx(1)
    assert np.corrcoef(np.log(found), np.log(expected))[0, 1] > 0.98
    slope = np.polyfit(training, np.log(found), 1)[0]
    assert slope == pytest.approx(5, rel=0.3)


def test_equal_sets_are_weighted_nearly_equally() -> None:
    """Noise of all pixels: a classifier that saw the image it judges would know it."""
    rng = np.random.default_rng(1)
    training, target = (rng.random((n, 28, 28), np.float32) for n in (200, 100))
    found = density_ratio(training, target)
    assert effective_number(found) > 190


def test_weights_are_clipped_and_repeatable_and_of_any_scale() -> None:
    rng = np.random.default_rng(2)
    training = rng.integers(0, 128, (90, 28, 28), dtype=np.uint8)
    training[:20] += 120
    target = rng.integers(120, 248, (40, 28, 28), dtype=np.uint8)
    found = density_ratio(training, target)
    assert found[:20].min() > 10 * found[20:].max()
    assert 50 < found.max() / found.min() <= CLIP**2 + 1e-9
    assert np.array_equal(density_ratio(training, target), found)
    scaled = density_ratio(training.astype(np.float32) / 255, target.astype(np.float32) / 255)
    assert scaled == pytest.approx(found, rel=1e-3)


def test_too_few_images_weigh_the_same() -> None:
    few = np.zeros((FOLDS - 1, 16, 16), np.uint8)
    assert density_ratio(few, few).tolist() == [1.0] * len(few)
    blank = np.zeros((2 * FOLDS, 16, 16), np.uint8)
    assert density_ratio(blank, blank) == pytest.approx(np.ones(2 * FOLDS))
    assert SIDE < 16
