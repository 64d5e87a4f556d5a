"""Folds: stratified, seeded, identical images together, nothing twice."""

from __future__ import annotations

import numpy as np
import pytest

from shiftsearch.data.dataset import Split, identical_images
from shiftsearch.data.folds import divide_into_folds

pytestmark = pytest.mark.unit


def make_split(contents: list[int], labels: list[int]) -> Split:
    """A split whose images are equal exactly where `contents` are."""
    images = np.zeros((len(contents), 16, 16), dtype=np.uint8)
    images[:, 3, 5] = contents
    return Split(images, np.array(labels, dtype=np.int64))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_each_image_is_in_one_fold_and_each_class_in_equal_parts(count: int) -> None:
    sizes = [60, 37, 21]
    split = make_split(list(range(118)), np.repeat(range(3), sizes).tolist())
    folds = divide_into_folds(split, count, seed=3)
    assert len(folds) == count
    assert sorted(np.concatenate(folds)) == list(range(118))
    for fold in folds:
        assert fold.dtype == np.int64
        assert (np.diff(fold) > 0).all()
        for size, own in zip(sizes, np.bincount(split.labels[fold], minlength=3), strict=True):
            assert own in (size // count, -(-size // count))


def test_the_seed_alone_fixes_the_folds() -> None:
    split = make_split(list(range(60)), [0, 1] * 30)
    first, again, other = ([f.tolist() for f in divide_into_folds(split, 3, s)] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_identical_images_are_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    split = make_split([int(c) for c in rng.integers(0, 30, 90)], [0, 1, 2] * 30)
    numbers = identical_images(split.images)
    for seed in range(10):
        folds = [set(numbers[fold].tolist()) for fold in divide_into_folds(split, 4, seed)]
        assert sum(map(len, folds)) == len(set(numbers.tolist()))


def test_too_few_different_images_leave_a_fold_empty() -> None:
    split = make_split([7, 7, 7, 8], [0, 0, 0, 1])
    folds = divide_into_folds(split, 3, seed=0)
    assert sorted(np.concatenate(folds)) == [0, 1, 2, 3]
    assert not all(map(len, folds))
