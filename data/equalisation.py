"""Contrast limited adaptive histogram equalisation (CLAHE) of each image.

K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994), pages
474-485. This is our own code because scikit-image and OpenCV would be large dependencies for one
function, and treat one image per call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.scale import Pixels

LEVELS = 256
"""Bins of a tile's histogram."""
SLOPE = 3.0
"""The limit of contrast: no bin counts more than this multiple of the mean of all bins."""
TILE = 14
"""Least side of a tile in pixels; smaller ones hold too few pixels for a histogram."""
MOST_TILES = 8
"""Most tiles along a side."""

_CHUNK = 256  # images at a time


def equalised(images: Pixels) -> Pixels:
    """Equalise the histogram of each part of each image: [N, H, W] to float32 in 0..1.

    An image is divided into equal tiles, 2x2 for 28x28 pixels. A tile's histogram is clipped at
    `SLOPE` times the mean of its bins; what is cut off is spread over all bins; the cumulative sum
    is the tile's map from old to new values. A pixel's new value is interpolated bilinearly
    between the maps of the four tiles whose centres are nearest.

    Args:
        images: uint8 in 0..255, or float32 in 0..1, which is rounded to 256 values.
    """
    codes = images if images.dtype == np.uint8 else np.rint(images * np.float32(LEVELS - 1))
    parts = [
        _equalised(codes[start : start + _CHUNK].astype(np.int64))
        for start in range(0, len(codes), _CHUNK)
    ]
    result: NDArray[np.float32] = np.concatenate(parts)
    return result


def _equalised(codes: NDArray[np.int64]) -> NDArray[np.float32]:
    n, height, width = codes.shape
    maps = _maps(codes)
    y, x = (
        _neighbours(side, tiles)
        for side, tiles in zip(codes.shape[1:], maps.shape[1:3], strict=True)
    )
    total = np.zeros((n, height, width))
    image = np.arange(n)[:, None, None]
    for row, row_weight in y:
        for column, column_weight in x:
            weight = row_weight[:, None] * column_weight
            total += weight * maps[image, row[:, None], column, codes]
    result: NDArray[np.float32] = total.clip(0, 1).astype(np.float32)
    return result


def _maps(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The map of each tile, [N, rows, columns, LEVELS] in 0..1; images are mirrored to fit."""
    n, *sides = codes.shape
    tiles = [_tiles(side) for side in sides]
    sizes = [-(-side // count) for side, count in zip(sides, tiles, strict=True)]
    extra = [c * s - side for c, s, side in zip(tiles, sizes, sides, strict=True)]
    padded = np.pad(codes, [(0, 0), *((0, more) for more in extra)], mode="symmetric")
    (rows, columns), (high, wide) = tiles, sizes
    split = padded.reshape(n, rows, high, columns, wide).swapaxes(2, 3)
    numbers = np.arange(n * rows * columns).reshape(n, rows, columns, 1, 1)
    counts = np.bincount((split + LEVELS * numbers).ravel(), minlength=numbers.size * LEVELS)
    histogram = counts.reshape(n, rows, columns, LEVELS).astype(np.float64)
    limit = max(1.0, SLOPE * high * wide / LEVELS)
    excess = (histogram - limit).clip(0).sum(axis=3, keepdims=True)
    clipped = histogram.clip(max=limit) + excess / LEVELS
    result: NDArray[np.float64] = clipped.cumsum(axis=3) / (high * wide)
    return result


def _tiles(side: int) -> int:
    return max(1, min(MOST_TILES, side // TILE))


def _neighbours(side: int, tiles: int) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each place along a side, the tiles before and after it, each with its weight."""
    size = -(-side // tiles)
    place = ((np.arange(side) + 0.5) / size - 0.5).clip(0, tiles - 1)
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, tiles - 1)
    return [(before, 1 - (place - before)), (after, place - before)]
