"""Check images that are given as an array, by the same rules as files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import DataError
from shiftsearch.data.scale import Pixels, Scale, impossible, misfit, to_unit


def checked_images(images: NDArray[Any], size: tuple[int, int], scale: Scale | None) -> Pixels:
    """The images as a network takes them.

    Args:
        images: [N, H, W], uint8 in 0..255 or floating on `scale`; not changed.
        size: (H, W) in pixels that they must have.
        scale: the scale of the training images. If it is None (not known), floats are taken as
            0..255 when one is above 1, and as 0..1 otherwise.

    Returns:
        [N, H, W]: uint8 as given, or float32 in 0..1.

    Raises:
        DataError: the shape, the type or a value is wrong.
    """
    array = np.asarray(images)
    if array.ndim != 3 or array.shape[1:] != size:
        raise DataError([f"images: shape {array.shape}, but must be (N, {size[0]}, {size[1]})"])
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise DataError([f"images: hold {array.dtype}, but must hold uint8 or floats"])
    if array.dtype == np.uint8 or not array.size:
        return array if array.dtype == np.uint8 else array.astype(np.float32)
    lowest, highest = float(array.min()), float(array.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError(["images: hold NaN or infinite values, but all must be finite"])
    if impossible(lowest, highest):
        raise DataError(
            [f"images: values in {lowest:g}..{highest:g}, but floats must be in 0..1 or in 0..255"]
        )
    scale = scale or ("float 0..255" if highest > 1 else "float 0..1")
    if problem := misfit(scale, array.dtype.name, highest):
        raise DataError([f"images: {problem}"])
    return to_unit(array.astype(np.float32), scale)
