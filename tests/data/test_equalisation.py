"""CLAHE against a slow twin that follows the definition pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shiftsearch.data.equalisation import LEVELS, MOST_TILES, SLOPE, TILE, equalised

pytestmark = pytest.mark.unit


def slowly(image: np.ndarray) -> np.ndarray:
    """[H, W] uint8 to float64 in 0..1."""
    tiles = [max(1, min(MOST_TILES, side // TILE)) for side in image.shape]
    sizes = [math.ceil(side / count) for side, count in zip(image.shape, tiles, strict=True)]

    def value(i: int, side: int) -> int:
        return i if i < side else 2 * side - 1 - i  # mirrored outside

    maps = {}
    for row in range(tiles[0]):
        for column in range(tiles[1]):
            counts = [0.0] * LEVELS
            for i in range(row * sizes[0], (row + 1) * sizes[0]):
                for j in range(column * sizes[1], (column + 1) * sizes[1]):
                    counts[image[value(i, image.shape[0]), value(j, image.shape[1])]] += 1
            limit = max(1.0, SLOPE * sizes[0] * sizes[1] / LEVELS)
            excess = sum(max(0.0, count - limit) for count in counts)
            clipped = [min(count, limit) + excess / LEVELS for count in counts]
            maps[row, column] = np.cumsum(clipped) / (sizes[0] * sizes[1])

    found = np.zeros(image.shape)
    for (i, j), level in np.ndenumerate(image):
        weighted = 0.0
        place = [
            min(max((at + 0.5) / size - 0.5, 0), count - 1)
            for at, size, count in zip((i, j), sizes, tiles, strict=True)
        ]
        for (row, column), mapped in maps.items():
            near = max(0, 1 - abs(place[0] - row)) * max(0, 1 - abs(place[1] - column))
            weighted += near * mapped[level]
        found[i, j] = weighted
    return found


@pytest.mark.parametrize("size", [(28, 28), (16, 30), (45, 31)])
def test_it_is_what_the_definition_says(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(60, 30, size).clip(0, 255).astype(np.uint8)
    image[3:9, 2:12] += 90
    np.testing.assert_allclose(equalised(image[None])[0], slowly(image), atol=1e-6)


def test_contrast_is_raised_at_most_by_the_slope() -> None:
    """Two grey levels of a flat image move apart, and not further than the limit."""
    image = np.full((1, 28, 28), 100, np.uint8)
    image[0, ::2] = 104
    step = float(np.ptp(equalised(image)))
    assert 4 / 255 < step <= (SLOPE + 1) * 4 / LEVELS
