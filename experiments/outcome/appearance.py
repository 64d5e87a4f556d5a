"""How far the splits differ in brightness and contrast, and how much of their shift that is.

Measured on images that are all brought to one polarity, bright figures on dark ground, because an
inverted image is another thing than a dark one. Of TEST2 only the selection part is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.preprocessing import bright_on_dark
from shiftsearch.data.scale import Pixels
from shiftsearch.experiments.analysis.suggestion import some_images
from shiftsearch.model.hyperparameters import Protocol

MOST = 500
"""Images of a split that are compared."""
_PIXELS = 4_000_000
"""Pixels of a split that are compared; of large images fewer than `MOST`."""
_FLAT = 1e-3
"""Contrast below which an image is only noise, which is not raised any further."""

Images = NDArray[np.float32]


def appearance(dataset: Dataset, protocol: Protocol) -> dict[str, Any]:
    """The key `dataset.appearance` of `result.json`.

    Returns:
        `splits`: by name `n`, `brightness` (mean intensity in 0..1) and `contrast` (mean over the
        images of the standard deviation within each). `shifts`: from TRAIN and from TEST to TEST2,
        `first`, `second`, the `distance` of their images, and the `rest` of it that is left when
        every image is brought to one brightness and contrast.
    """
    height, width = dataset.image_size
    most = max(2, min(MOST, _PIXELS // (height * width)))
    few = some_images(dataset, protocol, most)
    upright = {name: _upright(images) for name, images in few.items()}
    return {
        "splits": {
            name: {
                "n": len(images),
                "brightness": _brightness(images),
                "contrast": _contrast(images),
            }
            for name, images in upright.items()
        },
        "shifts": [
            {"first": name, "second": "TEST2", **shift(upright[name], upright["TEST2"])}
            for name in ("TRAIN", "TEST")
        ],
    }


def shift(first: Images, second: Images) -> dict[str, float]:
    """The energy distance of two sets of images, and what brightness and contrast leave of it.

    Args:
        first, second: [N, H, W] float32, N >= 1.

    Returns:
        `distance` and `rest`, both 0 to the root of 2.
    """
    level = (_brightness(first) + _brightness(second)) / 2
    contrast = (_contrast(first) + _contrast(second)) / 2
    alike = [_alike(images, level, contrast) for images in (first, second)]
    return {"distance": energy_distance(first, second), "rest": energy_distance(*alike)}


def energy_distance(first: Images, second: Images) -> float:
    """Distance of two distributions of images, 0 where they are the same.

    The root of 2 E|X - Y| - E|X - X'| - E|Y - Y'|, see Szekely and Rizzo 2013, J. Stat. Plann.
    Inference 143, pp. 1249-1272; |.| is the root mean square over pixels. The means are over
    distinct images, so that few images make it no larger.
    """
    both = _apart(first, second).mean()
    squared = 2 * both - _within(first) - _within(second)
    return float(max(0.0, squared) ** 0.5)


def _within(images: Images) -> float:
    n = len(images)
    return float(_apart(images, images).sum()) / (n * (n - 1)) if n > 1 else 0.0


def _apart(first: Images, second: Images) -> NDArray[np.float64]:
    """[N, M] root mean square differences of [N, H, W] and [M, H, W] images."""
    a, b = (images.reshape(len(images), -1).astype(np.float64) for images in (first, second))
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    found: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0) / a.shape[1])
    if first is second:
        np.fill_diagonal(found, 0)  # rounding leaves more
    return found


def _alike(images: Images, level: float, contrast: float) -> Images:
    """Every image with this mean and standard deviation."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    own = np.maximum(images.std(axis=(1, 2), keepdims=True), _FLAT)
    return np.asarray((images - mean) / own * contrast + level, np.float32)


def _brightness(images: Images) -> float:
    return float(images.mean(dtype=np.float64))


def _contrast(images: Images) -> float:
    return float(images.std(axis=(1, 2)).mean())


def _upright(images: Pixels) -> Images:
    white = np.float32(255 if images.dtype == np.uint8 else 1)
    return bright_on_dark(images).astype(np.float32) / white
