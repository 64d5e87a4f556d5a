"""A split's mean image, histogram and samples, and the distance between two splits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from shiftsearch.data.dataset import Split
from shiftsearch.experiments.analysis.split_summary import (
    BINS,
    SplitSummary,
    shift_between,
    summarise_split,
)
from shiftsearch.model.hyperparameters import Augmentation, PreprocessingHyperparameters

pytestmark = pytest.mark.unit

NONE = PreprocessingHyperparameters()


def noise(count: int, low: int, high: int) -> Split:
    """[count, 9, 11] uint8 from low to below high; labels 0, 2, 0, 2, ...: class 1 is empty."""
    rng = np.random.default_rng(low)
    images = rng.integers(low, high, (count, 9, 11), dtype=np.uint8)
    return Split(images, np.arange(count) % 2 * 2)


def summary(split: Split, name: str = "TRAIN") -> SplitSummary:
    return summarise_split(name, split, None, 3, None, NONE)


def test_intensities_are_numpys() -> None:
    split = noise(1500, 3, 256)  # more than one chunk
    found, floats = summary(split), split.images / np.float64(255)
    counts, _ = np.histogram(floats, bins=BINS, range=(0, 1))
    np.testing.assert_array_equal(found.histogram, counts / floats.size)
    np.testing.assert_allclose(found.mean_image, floats.mean(axis=0), rtol=1e-6)
    assert (found.mean, found.sd) == pytest.approx((floats.mean(), floats.std()), rel=1e-6)
    assert (found.n, found.part, found.counts) == (1500, "all", (750, 0, 750))


def test_floats_are_summarised_like_the_bytes_they_stand_for() -> None:
    stored = noise(20, 0, 256)
    floats = Split(stored.images.astype(np.float32) / 255, stored.labels)
    as_bytes, as_floats = summary(stored), summary(floats)
    np.testing.assert_array_equal(as_floats.histogram, as_bytes.histogram)
    np.testing.assert_array_equal(as_floats.mean_image, as_bytes.mean_image)


def test_shift_is_scipys_distance_between_the_histograms() -> None:
    first, second = summary(noise(50, 0, 90)), summary(noise(60, 40, 256), "TEST")
    centres = (np.arange(BINS) + 0.5) / BINS
    expected = wasserstein_distance(centres, centres, first.histogram, second.histogram)
    found = shift_between(first, second)
    assert found.intensity == pytest.approx(expected)
    gap = first.mean_image.astype(float) - second.mean_image
    assert found.mean_image == pytest.approx(np.sqrt((gap**2).mean()))
    assert (found.first, found.second) == ("TRAIN", "TEST")
    same = shift_between(first, first)
    assert (same.intensity, same.mean_image) == (0, 0)


def test_brightening_all_images_moves_both_distances_by_as_much() -> None:
    split = noise(50, 0, 90)
    brighter = Split(split.images + np.uint8(102), split.labels)  # 0.4 of the range
    found = shift_between(summary(split), summary(brighter))
    assert found.mean_image == pytest.approx(0.4, abs=1e-6)
    assert found.intensity == pytest.approx(0.4, abs=1 / BINS)


def test_samples_are_the_first_of_each_class_as_stored_and_as_trained_on() -> None:
    split, strengths = noise(8, 0, 256), Augmentation(brightness=0.2)
    part = np.array([1, 2, 4, 5, 6, 7])
    found = summarise_split("TRAIN", split, part, 3, ("baseline", strengths), NONE)
    assert [(s.index, s.label) for s in found.samples] == [(2, 0), (4, 0), (1, 2), (5, 2)]
    assert (found.augmentation, found.part, found.counts) == ("baseline", "selection", (3, 0, 3))
    for sample in found.samples:
        np.testing.assert_array_equal(sample.stored, split.images[sample.index])
        clean = split.images[sample.index].astype(np.float32) / 255
        np.testing.assert_allclose(sample.preprocessed, clean, rtol=1e-6)
        assert sample.augmented.shape == (2, 9, 11)
        assert 0 < np.abs(sample.augmented[0] - clean).max() <= 0.2 + 1e-6
        assert not np.array_equal(sample.augmented[0], sample.augmented[1])
    again = summarise_split("TRAIN", split, part, 3, ("baseline", strengths), NONE)
    for one, other in zip(found.samples, again.samples, strict=True):
        np.testing.assert_array_equal(one.augmented, other.augmented)


def test_augmentation_at_strength_0_is_none() -> None:
    found = summarise_split("TEST", noise(4, 0, 9), None, 3, ("fine_tune", Augmentation()), NONE)
    assert found.augmentation is None
    assert {s.augmented.shape for s in found.samples} == {(0, 9, 11)}


def test_preprocessed_samples_are_augmented_and_the_rest_is_as_stored() -> None:
    split, inverted = noise(8, 180, 256), PreprocessingHyperparameters(polarity="bright_on_dark")
    split.images[:, 3:6, 3:6] = 9
    strengths = ("baseline", Augmentation(noise=0.01))
    found = summarise_split("TRAIN", split, None, 3, strengths, inverted)
    plain = summarise_split("TRAIN", split, None, 3, strengths, NONE)
    assert (found.is_preprocessed, plain.is_preprocessed) == (True, False)
    np.testing.assert_array_equal(found.histogram, plain.histogram)
    np.testing.assert_array_equal(found.mean_image, plain.mean_image)
    for sample, other in zip(found.samples, plain.samples, strict=True):
        np.testing.assert_array_equal(sample.stored, other.stored)
        np.testing.assert_allclose(sample.preprocessed, 1 - other.preprocessed, atol=1e-6)
        assert np.abs(sample.augmented - sample.preprocessed).max() < 0.1
