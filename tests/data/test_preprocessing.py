"""Preprocessing: what each step makes of an image, and that it looks at that image alone."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from shiftsearch.data.preprocessing import (
    CENTRES,
    DEVIATIONS,
    INTENSITIES,
    PERCENTILES,
    POLARITIES,
    bright_on_dark,
    centred,
    is_bright_outside,
    offsets,
    preprocess,
    standardised,
    stretched,
)
from shiftsearch.data.scale import Pixels

pytestmark = pytest.mark.unit

COMBINATIONS = list(product(INTENSITIES, POLARITIES, CENTRES))


def noise(count: int = 5, size: tuple[int, int] = (17, 20)) -> np.ndarray:
    """[count, H, W] uint8: a bright bar in noise; every second image is a negative."""
    rng = np.random.default_rng(0)
    images = rng.normal(60, 20, (count, *size))
    for i, image in enumerate(images):
        image[2 + i % 8 : 6 + i % 8, 1:6] += 120
    images[1::2] = 255 - images[1::2]
    return images.clip(0, 255).astype(np.uint8)


def unit(images: Pixels) -> np.ndarray:
    return (images / np.float32(255)).astype(np.float32)


def blob(row: int, column: int, figure: int, outside: int) -> np.ndarray:
    """[1, 20, 24] uint8 with a square of 5x5 around a place."""
    image = np.full((1, 20, 24), outside, np.uint8)
    image[0, row - 2 : row + 3, column - 2 : column + 3] = figure
    return image


@pytest.mark.parametrize("images", [noise(), unit(noise())], ids=["uint8", "float32"])
@pytest.mark.parametrize(("intensity", "polarity", "centre"), COMBINATIONS)
def test_an_image_gives_the_same_bits_alone_and_among_others(
    images: Pixels, intensity: str, polarity: str, centre: str
) -> None:
    before = images.copy()
    found = preprocess(images, intensity, polarity, centre)
    alone = [preprocess(images[i : i + 1], intensity, polarity, centre) for i in range(5)]
    np.testing.assert_array_equal(found, np.concatenate(alone))
    np.testing.assert_array_equal(images, before)
    assert found.shape == images.shape
    assert found.dtype == (images.dtype if intensity == "none" else np.float32)
    assert found.min() >= 0
    assert found.max() <= (255 if found.dtype == np.uint8 else 1)


def test_many_images_are_cut_into_parts_unseen() -> None:
    images = noise(1030, (16, 16))
    found = preprocess(images, "standardise", "bright_on_dark")
    np.testing.assert_array_equal(
        found[1020:], preprocess(images[1020:], "standardise", "bright_on_dark")
    )


def test_no_step_returns_the_images_themselves() -> None:
    images = noise()
    assert preprocess(images) is images
    empty = images[:0]
    assert preprocess(empty, "equalise", "bright_on_dark", "mass") is empty


@pytest.mark.parametrize("intensity", [name for name in INTENSITIES if name != "none"])
def test_floats_give_what_the_bytes_they_stand_for_give(intensity: str) -> None:
    bytes_, floats = (
        preprocess(images, intensity, "bright_on_dark") for images in (noise(), unit(noise()))
    )
    np.testing.assert_allclose(floats, bytes_, atol=1e-6)


def test_standardised_images_have_one_mean_and_one_deviation() -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 17, 20), dtype=np.uint8)
    images[3:] //= 5
    found = standardised(images).reshape(5, -1)
    np.testing.assert_allclose(found.mean(axis=1), 0.5, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=1), 1 / (2 * DEVIATIONS), rtol=1e-4)


@pytest.mark.parametrize("step", [standardised, stretched])
def test_light_and_contrast_do_not_matter(step: object) -> None:
    images = unit(noise())
    np.testing.assert_allclose(step(images * 0.5 + 0.25), step(images), atol=1e-5)  # type: ignore[operator]


def test_standardised_values_are_clipped_and_faint_noise_stays_faint() -> None:
    spike = np.zeros((1, 20, 20), np.uint8)
    spike[0, 3, 3] = 255
    assert standardised(spike).max() == 1
    assert 0.5 - 1 / (2 * DEVIATIONS) < standardised(spike).min() < 0.5
    faint = np.full((1, 20, 20), 0.5, np.float32)
    faint[0, ::2] += 1e-4
    assert np.ptp(standardised(faint)) == pytest.approx(1e-4 * 255 / (2 * DEVIATIONS), rel=1e-3)
    np.testing.assert_array_equal(standardised(np.full((1, 16, 16), 9, np.uint8)), 0.5)


def test_stretched_images_span_their_percentiles() -> None:
    image = noise()[:1]
    low, high = np.percentile(image / 255, PERCENTILES)
    np.testing.assert_allclose(
        stretched(image), np.clip((image / 255 - low) / (high - low), 0, 1), atol=1e-6
    )


def test_stretched_images_with_few_bright_pixels_span_their_extremes() -> None:
    image = np.full((2, 20, 20), 100, np.uint8)
    image[0, 3, 3:5] = (110, 120)  # less than 1 % of the pixels
    found = stretched(image)
    assert sorted(set(found[0].ravel().tolist())) == [0, 0.5, 1]
    np.testing.assert_allclose(found[1], 100 / 255, rtol=1e-6)  # a single value is kept


def test_polarity_is_that_of_the_figure() -> None:
    bright, dark = blob(8, 9, 200, 30), blob(8, 9, 55, 225)
    np.testing.assert_array_equal(is_bright_outside(np.concatenate([bright, dark])), [False, True])
    np.testing.assert_array_equal(bright_on_dark(dark), bright)
    np.testing.assert_array_equal(bright_on_dark(bright), bright)
    np.testing.assert_allclose(bright_on_dark(unit(dark)), unit(bright), atol=1e-6)
    single = np.full((1, 16, 16), 200, np.uint8)
    np.testing.assert_array_equal(bright_on_dark(single), single)


@pytest.mark.parametrize(("figure", "outside"), [(200, 30), (30, 200)])
def test_figures_of_both_polarities_are_moved_to_the_middle(figure: int, outside: int) -> None:
    images = np.concatenate([blob(4, 18, figure, outside), blob(14, 3, figure, outside)])
    # The middle of 20x24 is (9.5, 11.5), between two places.
    np.testing.assert_allclose(offsets(images), [[-5.5, 6.5], [4.5, -8.5]])
    np.testing.assert_array_equal(
        centred(images),
        np.concatenate([blob(10, 12, figure, outside), blob(10, 11, figure, outside)]),
    )


def test_faint_noise_does_not_pull_the_centre() -> None:
    image = blob(4, 4, 200, 30)
    image[0, 10:, 12:] += 30
    np.testing.assert_allclose(offsets(image), [[-5.5, -7.5]])
    np.testing.assert_array_equal(offsets(np.full((1, 16, 16), 9, np.uint8)), [[0, 0]])
