"""Preprocessing of each image by itself: polarity, position and intensity.

A step looks at one image only, never at the set, so an image gives the same bits alone and among
others, in training and in the exported model. All is computed on the CPU: 10,000 images of 28x28
take about 1 s, once for each split and preprocessing. Another step is a function and its entry in
`POLARITIES`, `CENTRES` or `INTENSITIES`; "none" changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.equalisation import equalised
from shiftsearch.data.scale import Pixels

Step: TypeAlias = Callable[[Pixels], Pixels]

VERSION = 1
"""Raised when a step gives other values than before; part of the keys of trained stages."""

DEVIATIONS = 4
"""`standardised` maps this many standard deviations below and above the mean to 0 and 1."""
LEAST_DEVIATION = 1 / 255
"""A smaller standard deviation counts as this one, so that noise alone is not made large."""
PERCENTILES = (1, 99)
"""What `stretched` makes black and white."""
FAINT = 1 / 4
"""`centred` ignores pixels that differ from the background by less than this fraction of the
largest difference: they are noise."""

_CHUNK = 1024  # images at a time, which bounds the memory for intermediate values


def preprocess(
    images: Pixels, intensity: str = "none", polarity: str = "none", centre: str = "none"
) -> Pixels:
    """Apply the steps in the order polarity, centre, intensity.

    Args:
        images: [N, H, W] uint8 in 0..255 or float32 in 0..1; not changed.
        intensity: a name in `INTENSITIES`.
        polarity: a name in `POLARITIES`.
        centre: a name in `CENTRES`.

    Returns:
        [N, H, W]: float32 in 0..1 with an `intensity`, otherwise in the dtype of `images`. Without
        any step, `images` itself.
    """
    chosen = (POLARITIES[polarity], CENTRES[centre], INTENSITIES[intensity])
    steps = [step for step in chosen if step is not None]
    if not steps or not len(images):
        return images
    parts = []
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        for step in steps:
            part = step(part)
        parts.append(part)
    result: Pixels = np.concatenate(parts)  # type: ignore[assignment]  # all have one dtype
    return result


def background(images: Pixels) -> NDArray[np.float64]:
    """The median of the pixels at each image's border: [N, H, W] to [N] in the images' units."""
    n = len(images)
    edges = [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]]
    border = np.concatenate([edge.reshape(n, -1) for edge in edges], axis=1)
    result: NDArray[np.float64] = np.median(border.astype(np.float64), axis=1)
    return result


def is_bright_outside(images: Pixels) -> NDArray[np.bool_]:
    """Whether an image has a dark figure: its background is above its mean. [N, H, W] to [N]."""
    result: NDArray[np.bool_] = background(images) > _flat(images).mean(axis=1)
    return result


def bright_on_dark(images: Pixels) -> Pixels:
    """Invert the images with a dark figure, x to 1 - x (255 - x): same shape, dtype and range."""
    white = images.dtype.type(255 if images.dtype == np.uint8 else 1)
    result: Pixels = np.where(is_bright_outside(images)[:, None, None], white - images, images)
    return result


def offsets(images: Pixels) -> NDArray[np.float64]:
    """How far the figure's centre of mass is from the image's centre.

    The mass of a pixel is |x - b| where b is the image's `background`, and 0 where that is less
    than `FAINT` times its largest value. So the polarity does not matter.

    Args:
        images: [N, H, W] uint8 in 0..255 or float32 in 0..1.

    Returns:
        [N, 2] pixels, downwards and to the right; 0 for an image of a single value.
    """
    n, height, width = images.shape
    mass = np.abs(_flat(images) - background(images)[:, None])
    mass[mass < FAINT * mass.max(axis=1, keepdims=True)] = 0
    total = mass.sum(axis=1)
    places = np.indices((height, width)).reshape(2, -1).astype(np.float64)
    found = np.zeros((n, 2))
    for axis, side in enumerate((height, width)):
        moment = (mass * places[axis]).sum(axis=1)
        np.divide(moment, total, out=found[:, axis], where=total > 0)
        found[:, axis] -= np.where(total > 0, (side - 1) / 2, 0)
    return found


def centred(images: Pixels) -> Pixels:
    """Shift each image by whole pixels so that its centre of mass is central, see `offsets`.

    As the digits of MNIST were centred (LeCun et al. 1998, section III.A). What comes in from
    outside has the value of the image's `background`. Same shape, dtype and range.
    """
    n, height, width = images.shape
    down, right = np.rint(offsets(images)).astype(np.int64).T
    rows = np.arange(height) + down[:, None]
    columns = np.arange(width) + right[:, None]
    is_inside = ((rows >= 0) & (rows < height))[:, :, None]
    is_inside = is_inside & ((columns >= 0) & (columns < width))[:, None, :]
    y, x = rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]
    outside = background(images)
    if images.dtype == np.uint8:
        outside = np.rint(outside)
    moved = images[np.arange(n)[:, None, None], y, x]
    result: Pixels = np.where(is_inside, moved, outside.astype(images.dtype)[:, None, None])
    return result


def standardised(images: Pixels) -> Pixels:
    """Give each image the same mean and standard deviation: [N, H, W] to float32 in 0..1.

    y = 1/2 + (x - mean) / (2 DEVIATIONS max(sd, LEAST_DEVIATION)), clipped to 0..1. As
    `per_image_standardization` of TensorFlow, brought into the range that augmentation expects.
    """
    x = _unit(images)
    x -= x.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(x).mean(axis=1, keepdims=True))
    x /= 2 * DEVIATIONS * np.maximum(deviation, LEAST_DEVIATION)
    return _clipped(x + 0.5, images)


def stretched(images: Pixels) -> Pixels:
    """Stretch each image between its percentiles: [N, H, W] to float32 in 0..1.

    y = (x - low) / (high - low), clipped to 0..1, where low and high are `PERCENTILES` of the
    image, with linear interpolation; its smallest and largest value if the two are equal. An image
    of a single value is kept. As `rescale_intensity` of scikit-image.
    """
    x = _unit(images)
    low, high = np.percentile(x, PERCENTILES, axis=1, keepdims=True)
    is_flat = high <= low
    low = np.where(is_flat, x.min(axis=1, keepdims=True), low)
    high = np.where(is_flat, x.max(axis=1, keepdims=True), high)
    is_single = high <= low
    low, width = np.where(is_single, 0, low), np.where(is_single, 1, high - low)
    return _clipped((x - low) / width, images)


def _flat(images: Pixels) -> NDArray[np.float64]:
    """[N, H, W] to [N, H * W] float64, in the same units; sums over a row are then one image's."""
    result: NDArray[np.float64] = images.reshape(len(images), -1).astype(np.float64)
    return result


def _unit(images: Pixels) -> NDArray[np.float64]:
    """[N, H, W] to [N, H * W] float64 in 0..1; a copy."""
    return _flat(images) / 255 if images.dtype == np.uint8 else _flat(images)


def _clipped(values: NDArray[np.float64], images: Pixels) -> NDArray[np.float32]:
    result: NDArray[np.float32] = values.clip(0, 1).astype(np.float32).reshape(images.shape)
    return result


INTENSITIES: Mapping[str, Step | None] = {
    "none": None,
    "standardise": standardised,
    "equalise": equalised,
    "stretch": stretched,
}
"""How the intensities of each image are brought to one scale, by name."""

POLARITIES: Mapping[str, Step | None] = {"none": None, "bright_on_dark": bright_on_dark}
"""How images get one polarity, by name."""

CENTRES: Mapping[str, Step | None] = {"none": None, "mass": centred}
"""How figures are moved to the middle, by name."""
