"""Bring an image to another size, and decide what happens if its aspect ratio differs.

`data import`, searches on folders of pictures, `evaluate` and `predict` all use these rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from shiftsearch.data.preprocessing import background
from shiftsearch.data.problems import named
from shiftsearch.data.scale import Pixels

Size: TypeAlias = tuple[int, int]
"""Height and width, pixels."""

Aspect: TypeAlias = Literal["pad", "crop", "stretch"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
"""What happens to an image of another aspect ratio: it is shrunk or enlarged as a whole and its
border continued to the wanted size; its longer side is cut at both ends; or it is distorted."""

DEFAULT_ASPECT: Aspect = "pad"

ASPECT_DONE: Mapping[Aspect, str] = {
    "pad": "padded with the median of their border",
    "crop": "cut at both ends of the longer side",
    "stretch": "distorted",
}
"""What is said of images of another aspect ratio."""


def fitted(pixels: Pixels, size: Size, aspect: Aspect = DEFAULT_ASPECT) -> Pixels:
    """An image [H, W] in another size, by an antialiased bilinear filter.

    Dtype and range are kept, and no value lies outside those of the image. An image of this size
    is returned as it is. If the aspect ratio is that of `size`, up to rounding to whole pixels,
    all values of `aspect` give the same result.
    """
    if pixels.shape == size:
        return pixels
    if aspect == "stretch" or not is_reshaped(pixels.shape, size):
        return _resized(pixels, size)
    height, width = pixels.shape
    if aspect == "crop":
        factor = max(size[0] / height, size[1] / width)
        inner = _scaled(size, 1 / factor)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        return _resized(pixels[top : top + inner[0], left : left + inner[1]], size)
    inner = _inside(pixels.shape, size)
    around = background(pixels[np.newaxis])[0]
    if pixels.dtype == np.uint8:
        around = np.rint(around)
    result: Pixels = np.full(size, around, dtype=pixels.dtype)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    result[top : top + inner[0], left : left + inner[1]] = _resized(pixels, inner)
    return result


def is_reshaped(shape: tuple[int, ...], size: Size) -> bool:
    """Whether an image of (H, W) has another aspect ratio than `size`, by a pixel or more."""
    return _inside((shape[0], shape[1]), size) != size


def said_of_sizes(
    images: Iterable[tuple[str, Size]], total: int, size: Size, aspect: Aspect
) -> str:
    """A line about images that were brought to another size; empty if there are none.

    Args:
        images: name, height and width of each; those of `size` are passed over.
        total: how many images there are.
        size: what all have now.
        aspect: what was done to those of another aspect ratio.
    """
    odd = [(name, shape) for name, shape in images if shape != size]
    if not odd:
        return ""
    line = f"images of another size, resized to {size[0]}x{size[1]}: {len(odd)} of {total}:"
    line += f" {named([name for name, _ in odd])}"
    if reshaped := sum(is_reshaped(shape, size) for _, shape in odd):
        others = " or ".join(other for other in ASPECTS if other != aspect)
        line += (
            f"; of another aspect ratio: {reshaped}, which were {ASPECT_DONE[aspect]}"
            f" (aspect {aspect}; or choose {others})"
        )
    return line


def _inside(shape: tuple[int, ...], size: Size) -> Size:
    """The largest size with the aspect ratio of `shape` that lies inside `size`."""
    factor = min(size[0] / shape[0], size[1] / shape[1])
    found = _scaled((shape[0], shape[1]), factor)
    return min(found[0], size[0]), min(found[1], size[1])


def _scaled(shape: Size, factor: float) -> Size:
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _resized(pixels: Pixels, size: Size) -> Pixels:
    if pixels.shape == size:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
