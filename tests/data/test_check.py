"""The report on a dataset: counts, ranges and the warnings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shiftsearch.data.check import Report, check
from shiftsearch.data.dataset import SPLITS, Dataset, Split

pytestmark = pytest.mark.unit


def report(contents: dict[str, list[int]], labels: dict[str, list[int]]) -> Report:
    """Of splits whose images are equal where `contents` are, which is the value of one pixel."""
    splits = {}
    for name in SPLITS:
        images = np.zeros((len(contents[name]), 16, 18), dtype=np.uint8)
        images[:, 0, 0] = 40
        images[:, 5, 7] = contents[name]
        splits[name] = Split(images, np.array(labels[name], dtype=np.int64))
    return check(Dataset(("cat", "dog"), splits))


def test_counts_ranges_and_no_false_alarm() -> None:
    found = report(
        {"TRAIN": [1, 2, 3, 4], "TEST": [5, 5], "TEST2": [7, 8, 9]},
        {"TRAIN": [0, 0, 0, 1], "TEST": [1, 1], "TEST2": [1, 1, 0]},
    )
    assert found.counts == {"TRAIN": (3, 1), "TEST": (0, 2), "TEST2": (1, 2)}
    assert found.ranges == {"TRAIN": (0, 40), "TEST": (0, 40), "TEST2": (0, 40)}
    assert found.summary.startswith("16x18 pixels, uint8, values in TRAIN 0..40, TEST 0..40")
    assert found.summary.endswith(found.digest)
    assert [line.split(":")[0] for line in found.warnings] == ["TEST"]


def test_imbalance_is_named_beyond_three_to_one() -> None:
    contents = {"TRAIN": [1, 2, 3, 4, 5], "TEST": [6, 7, 8, 9], "TEST2": [10, 11]}
    labels = {"TRAIN": [1, 0, 1, 1, 1], "TEST": [0, 0, 0, 1], "TEST2": [0, 1]}
    assert report(contents, labels).warnings == (
        "TRAIN: class 'dog' has 4 images, but class 'cat' has 1;"
        " over 3 times as many is imbalanced",
    )


def test_leakage_is_counted_per_pair_of_splits() -> None:
    contents = {"TRAIN": [1, 1, 2, 3], "TEST": [1, 4, 3], "TEST2": [4, 5]}
    labels = {"TRAIN": [0, 0, 1, 1], "TEST": [0, 0, 1], "TEST2": [0, 1]}
    first, second = report(contents, labels).warnings
    assert first.startswith("identical images in TRAIN (3) and TEST (2)")
    assert second.startswith("identical images in TEST (1) and TEST2 (1)")


def test_identical_images_under_different_labels_are_counted() -> None:
    contents = {"TRAIN": [1, 1, 1, 2, 3, 3], "TEST": [4, 5], "TEST2": [6, 6]}
    labels = {"TRAIN": [0, 0, 1, 1, 0, 0], "TEST": [0, 1], "TEST2": [0, 1]}
    assert report(contents, labels).warnings == (
        "images with an identical one under another label: 5 (2 different)",
    )


@pytest.mark.parametrize(
    ("top", "dtype", "share"),
    [
        (16, np.uint8, "6.3 %"),
        (31, np.uint8, "12 %"),
        (32, np.uint8, ""),
        (0.1, np.float32, "10 %"),
    ],
)
def test_a_set_that_uses_little_of_its_range_is_named(top: float, dtype: Any, share: str) -> None:
    rng = np.random.default_rng(0)
    splits = {}
    for name in SPLITS:
        images = np.zeros((2, 16, 16), dtype)
        images[:, 0, 0], images[:, 8] = top, rng.random((2, 16)) * top
        splits[name] = Split(images, np.array([0, 1]))
    warnings = check(Dataset(("cat", "dog"), splits)).warnings
    assert [f"{top:g}, so the images use {share}" in line for line in warnings] == [True] * bool(
        share
    )
