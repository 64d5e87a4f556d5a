"""How far a model's probabilities are from its accuracy, and one temperature that corrects them.

Source: Guo et al. 2017, arXiv 1706.04599, section 2 for the expected calibration error, section
4.2 for the temperature. Their temperature divides logits. Here it divides the logarithms of the
model's probabilities, which for one network is the same; for an ensemble it corrects the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

BINS = 15
LEAST, MOST = 0.05, 20.0
"""Range of a temperature. Without a bound, a model that is always right would get 0."""
_TINY = 1e-38  # below the smallest normal float32


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities at a temperature: proportional to p ** (1 / temperature).

    Args:
        probabilities: [n, classes] in 0..1, each row with sum 1.
        temperature: above 0; above 1 makes the model less sure. At 1 they are returned as they
            are.

    Returns:
        [n, classes] float32, each row with sum 1 and its classes in the same order as before.
    """
    if temperature == 1:
        return probabilities
    found: NDArray[np.float32] = softmax(_logs(probabilities) / temperature, axis=1).astype(
        np.float32
    )
    return found


def fitted_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature with the least mean negative log likelihood, in `LEAST`..`MOST`.

    Args:
        probabilities: [n, classes] in 0..1.
        labels: [n], the true classes.

    Raises:
        ValueError: there are no images.
    """
    from scipy.optimize import minimize_scalar  # late: it takes longer than a prediction

    if len(labels) == 0:
        raise ValueError("a temperature needs at least one image, got 0")
    logs, rows = _logs(probabilities), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logs / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, labels].mean())

    # Convex in 1 / temperature, so there is one minimum.
    found = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded")
    return float(np.exp(found.x))


def calibration_error(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], bins: int = BINS
) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, in 0..1.

    The confidence of an image is the probability of its predicted class. Images are put into bins
    of equal width, (0, 1 / bins], ..., (1 - 1 / bins, 1]. The error is the mean over images of
    |accuracy - mean confidence| of their bin.

    Args:
        probabilities: [n, classes] in 0..1.
        labels: [n], the true classes.
        bins: number of bins.

    Raises:
        ValueError: there are no images.
    """
    if len(labels) == 0:
        raise ValueError("a calibration error needs at least one image, got 0")
    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def _logs(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
    return found
