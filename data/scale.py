"""The scale of stored values: which value is white, and how a value becomes a number in 0..1.

Everything that reads images uses these rules: folders, `data check`, `data import`, `evaluate` and
`predict`. A set has one scale. It is found from all its files together when a folder is read. A
bundle records it, so that later files are read as the training files were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Scale: TypeAlias = Literal["uint8", "float 0..1", "float 0..255"]
SCALES: tuple[Scale, ...] = get_args(Scale)

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]

TOLERANCE = 1e-3
"""How far floats may lie outside 0..1, from rounding or resampling; they are clipped to it."""

LEAST_WIDE = 8
"""A set of floats whose largest value is above 1 and below this is refused: as 0..255 it would be
black."""

FAINT = 1 / 8
"""A set whose largest value is below this fraction of its scale gets a warning."""

Bits: TypeAlias = Literal[8, 10, 12, 14, 16]
"""Numbers of significant bits that 16-bit PNG files may have."""
DEEP_BITS: tuple[Bits, ...] = get_args(Bits)
FULL_BITS: Bits = 16


def impossible(lowest: float, highest: float) -> bool:
    """Whether these values fit no scale of floats."""
    return lowest < -TOLERANCE or highest > 255 * (1 + TOLERANCE)


def scale_of(highest: Sequence[float]) -> Scale:
    """The scale of a set of floats, from the largest value of each file.

    It is 0..1 if most files have no larger values. A few files with larger values are then errors,
    and do not make the other files dark.
    """
    beyond = sum(value > 1 + TOLERANCE for value in highest)
    return "float 0..255" if 2 * beyond >= max(1, len(highest)) else "float 0..1"


def misfit(scale: Scale, dtype: str, highest: float) -> str:
    """Why an image is not on the scale; empty if it is. uint8 images are on every scale.

    Args:
        scale: the scale of the set, or of a model's training images.
        dtype: the file's dtype.
        highest: the file's largest value, for floats.
    """
    if dtype == "uint8":
        return ""
    if scale == "uint8":
        return f"holds {dtype}, but must hold uint8 in 0..255"
    if scale == "float 0..1" and highest > 1 + TOLERANCE:
        return f"largest value {highest:.7g}, but floats must be in 0..1"
    return ""


def to_unit(pixels: Pixels, scale: Scale) -> Pixels:
    """Convert floats to float32 in 0..1; uint8 is returned as it is.

    Args:
        pixels: uint8, or float32 on `scale`; not changed.
        scale: the scale of the floats.
    """
    if pixels.dtype == np.uint8:
        return pixels
    result: NDArray[np.float32] = pixels.astype(np.float32)
    if scale == "float 0..255":
        result /= np.float32(255)
    if result.min() < 0 or result.max() > 1:  # else to the bit: clipping turns -0.0 into 0.0
        np.clip(result, 0, 1, out=result)
    return result


def bits_of(highest: int) -> Bits:
    """The least of `DEEP_BITS` that holds a value of 0..65535."""
    return next(bits for bits in DEEP_BITS if highest < 2**bits)
