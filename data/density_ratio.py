"""Weights by which training images look more like target images, from the images alone.

A classifier tells training images from target images. Where it gives the probability p that an
image is a target one, p / (1 - p), times training images per target image, estimates the ratio of
the densities of target and training images. Sources: Bickel, Brückner and Scheffer 2007, doi
10.1145/1273496.1273507; Sugiyama, Suzuki and Kanamori 2012, Density Ratio Estimation in Machine
Learning, doi 10.1017/CBO9781139035613, section 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from shiftsearch.data.scale import Pixels
from shiftsearch.data.weights import Weights, mean_one

SIDE = 7
"""Side of the averaged images that the classifier sees; 49 values need few images."""
FOLDS = 5
"""Each image is judged by a classifier that was fitted without its fold."""
CLIP = 10.0
"""Estimated ratios are kept in 1 / CLIP to CLIP, so that few images do not outweigh the others."""
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Weights of half the squared coefficients, which are those of standardised values. The one that
predicts the parts best is used: with 200 images and noise, 1 gave weights as if 95 were left."""

Features = NDArray[np.float64]


def density_ratio(training: Pixels, target: Pixels) -> Weights:
    """A weight for each training image; no labels are used.

    The classifier is a logistic regression on averaged pixels, fitted for each of `FOLDS` parts on
    the others. The draw of the parts is fixed, so the same images have the same weights.

    Args:
        training: [N, H, W] uint8 or float32.
        target: [M, H, W] of the same size and type.

    Returns:
        [N] float64 above 0, mean 1. All are 1 if a set has fewer images than parts.
    """
    if min(len(training), len(target)) < FOLDS:
        return np.ones(len(training))
    x = np.concatenate([_features(training), _features(target)])
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    is_target = np.arange(len(x)) >= len(training)
    rng = np.random.default_rng(0)
    # Both sets are spread evenly over the parts.
    folds = np.concatenate([rng.permutation(n) % FOLDS for n in (len(training), len(target))])
    signs = np.where(is_target, 1.0, -1.0)
    judged = [_judged(x, signs, folds, penalty) for penalty in PENALTIES]
    scores = min(judged, key=lambda found: float(np.logaddexp(0, -signs * found).sum()))
    ratio = np.exp(np.clip(scores[: len(training)], -50, 50)) * len(training) / len(target)
    return mean_one(np.clip(ratio, 1 / CLIP, CLIP))


def _features(images: Pixels) -> Features:
    """[N, H, W] to [N, SIDE * SIDE] means of areas of nearly equal size."""
    _, height, width = images.shape
    rows, columns = (np.linspace(0, n, SIDE + 1).round().astype(int) for n in (height, width))
    sums = np.add.reduceat(images.astype(np.float64), rows[:-1], axis=1)
    sums = np.add.reduceat(sums, columns[:-1], axis=2)
    areas = np.diff(rows)[:, None] * np.diff(columns)
    found: Features = (sums / areas).reshape(len(images), -1)
    return found


def _judged(x: Features, signs: Features, folds: NDArray[np.int64], penalty: float) -> Features:
    """Log-odds of each row of `x` ([n, d]) by a classifier fitted without its fold: [n]."""
    found = np.empty(len(x))
    for fold in range(FOLDS):
        own = folds == fold
        found[own] = _log_odds(x[~own], signs[~own], x[own], penalty)
    return found


def _log_odds(x: Features, signs: Features, asked: Features, penalty: float) -> Features:
    """Logistic regression of `signs` ([n], -1 or 1) on `x` ([n, d]): log-odds of `asked`: [m]."""

    def loss(values: Features) -> tuple[float, Features]:
        margins = signs * (x @ values[1:] + values[0])
        slopes = -signs * expit(-margins)
        value = np.logaddexp(0, -margins).sum() + penalty / 2 * (values[1:] @ values[1:])
        return float(value), np.r_[slopes.sum(), slopes @ x + penalty * values[1:]]

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    log_odds: Features = asked @ found[1:] + found[0]
    return log_odds
