"""The temperature and the calibration error, on probabilities whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from shiftsearch.model.calibration import (
    LEAST,
    MOST,
    calibration_error,
    fitted_temperature,
    tempered,
)

pytestmark = pytest.mark.unit


def drawn(factor: float, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and those probabilities with logits times `factor`."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (n, 4))
    truth = softmax(logits, axis=1)
    labels = (truth.cumsum(1) < rng.random((n, 1))).sum(1)
    return softmax(factor * logits, axis=1).astype(np.float32), labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_of_the_logits(factor: float) -> None:
    probabilities, labels = drawn(factor)
    temperature = fitted_temperature(probabilities, labels)
    assert temperature == pytest.approx(factor, rel=0.05)
    after = tempered(probabilities, temperature)
    assert calibration_error(after, labels) < 0.015
    if factor != 1:
        assert calibration_error(probabilities, labels) > 0.05


def test_a_model_that_is_always_right_gets_a_bounded_temperature() -> None:
    sure = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    right, wrong = np.array([0, 1]), np.array([1, 0])
    assert fitted_temperature(sure, right) == pytest.approx(LEAST, rel=0.01)
    assert fitted_temperature(sure, wrong) == pytest.approx(MOST, rel=0.01)
    certain = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert np.isfinite(tempered(certain, LEAST)).all()
    assert np.isfinite(tempered(certain, MOST)).all()


def test_tempered_rows_are_probabilities_in_the_same_order() -> None:
    probabilities, _ = drawn(1.0, 200)
    for temperature in (LEAST, 0.5, 2.0, MOST):
        found = tempered(probabilities, temperature)
        assert found.dtype == np.float32
        assert np.allclose(found.sum(1), 1, atol=1e-5)
        assert (found.argmax(1) == probabilities.argmax(1)).all()
    assert tempered(probabilities, 1.0) is probabilities


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    probabilities = np.array([[0.95, 0.05], [0.97, 0.03], [0.62, 0.38], [0.42, 0.58]], np.float32)
    # Bin (14/15, 1]: accuracy 1/2, confidence 0.96; bin 10: 0.62, right; bin 9: 0.58, wrong.
    found = calibration_error(probabilities, np.array([0, 1, 0, 0]))
    assert found == pytest.approx((2 * 0.46 + 0.38 + 0.58) / 4, abs=1e-6)
    assert calibration_error(probabilities, np.array([0, 1, 0, 0]), bins=1) == pytest.approx(
        abs(0.5 - (0.95 + 0.97 + 0.62 + 0.58) / 4), abs=1e-6
    )


def test_no_images_are_refused() -> None:
    nothing, labels = np.empty((0, 3), np.float32), np.empty(0, np.int64)
    for function in (fitted_temperature, calibration_error):
        with pytest.raises(ValueError, match="got 0"):
            function(nothing, labels)
