"""Images in another size: what each aspect does to a picture of another shape."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from shiftsearch.data.fitting import ASPECTS, Aspect, fitted, said_of_sizes

pytestmark = pytest.mark.unit


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(height, width), dtype=np.uint8)


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("aspect", ASPECTS)
def test_the_same_aspect_ratio_is_only_resized(aspect: Aspect) -> None:
    image = noise(40, 60)
    assert fitted(image, (40, 60), aspect) is image
    assert np.array_equal(fitted(image, (20, 30), aspect), resized(image, 20, 30))
    odd = noise(45, 61)  # 28x38 after rounding to whole pixels
    assert np.array_equal(fitted(odd, (28, 38), aspect), resized(odd, 28, 38))


def test_padding_shows_all_of_the_image_and_continues_its_border() -> None:
    image = noise(20, 40)
    image[0] = image[-1] = image[:, 0] = image[:, -1] = 200
    found = fitted(image, (28, 20), "pad")
    assert np.array_equal(found[9:19], resized(image, 10, 20))
    assert (found[:9] == 200).all()
    assert (found[19:] == 200).all()


def test_cropping_shows_the_middle() -> None:
    image = noise(20, 40)
    assert np.array_equal(fitted(image, (16, 16), "crop"), resized(image[:, 10:30], 16, 16))
    tall = noise(41, 20)
    assert np.array_equal(fitted(tall, (20, 20), "crop"), tall[10:30])


def test_stretching_shows_all_of_it_distorted() -> None:
    image = noise(20, 40)
    assert np.array_equal(fitted(image, (16, 16), "stretch"), resized(image, 16, 16))


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (17, 16), (7, 5)])
def test_floats_of_any_shape_stay_in_their_range(shape: tuple[int, int], aspect: Aspect) -> None:
    image = np.random.default_rng(0).uniform(0.2, 0.7, shape).astype(np.float32)
    found = fitted(image, (16, 19), aspect)
    assert (found.shape, found.dtype) == ((16, 19), np.float32)
    assert found.min() >= image.min() - 1e-6
    assert found.max() <= image.max() + 1e-6


def test_the_line_counts_other_sizes_and_other_shapes() -> None:
    images = [("a", (16, 16)), ("b", (32, 32)), ("c", (32, 20))]
    line = said_of_sizes(images, 3, (16, 16), "crop")
    assert "16x16: 2 of 3: b, c; of another aspect ratio: 1, which were cut" in line
    assert "(aspect crop; or choose pad or stretch)" in line
    assert "another aspect" not in said_of_sizes(images[:2], 3, (16, 16), "crop")
    assert said_of_sizes(images[:1], 1, (16, 16), "crop") == ""
