"""The division of a split: stratified, seeded, identical images together."""

from __future__ import annotations

import numpy as np
import pytest

from shiftsearch.data.dataset import DataError, Dataset, Split, divide, identical_images

pytestmark = pytest.mark.unit


def make_split(contents: list[int], labels: list[int]) -> Split:
    """A split whose images are equal exactly where `contents` are."""
    images = np.zeros((len(contents), 16, 16), dtype=np.uint8)
    images[:, 3, 5] = contents
    return Split(images, np.array(labels, dtype=np.int64))


def shares(split: Split, held_out: np.ndarray) -> list[int]:
    return np.bincount(split.labels[held_out], minlength=split.labels.max() + 1).tolist()


@pytest.mark.parametrize("holdout", [0.05, 0.3, 0.5, 0.9])
def test_every_class_is_held_out_to_the_nearest_image(holdout: float) -> None:
    sizes = [100, 37, 21, 2]
    split = make_split(list(range(160)), np.repeat(range(4), sizes).tolist())
    division = divide(split, holdout, seed=3)
    assert sorted([*division.selection, *division.held_out]) == list(range(160))
    for size, held in zip(sizes, shares(split, division.held_out), strict=True):
        possible = [abs(count - holdout * size) for count in range(1, size)]
        assert abs(held - holdout * size) == pytest.approx(min(possible))
    assert (np.diff(division.held_out) > 0).all()
    assert division.held_out.dtype == np.int64


def test_the_seed_alone_fixes_the_division() -> None:
    split = make_split(list(range(60)), [0, 1] * 30)
    first, again, other = (divide(split, 0.5, seed).held_out.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_identical_images_stay_together_across_labels_too() -> None:
    rng = np.random.default_rng(0)
    contents = [*rng.integers(0, 30, 60), *range(100, 200)]
    split = make_split([int(c) for c in contents], rng.integers(0, 3, 160).tolist())
    for seed in range(20):
        division = divide(split, 0.5, seed)
        chosen, held = (
            set(identical_images(split.images)[part].tolist())
            for part in (division.selection, division.held_out)
        )
        assert not chosen & held
        assert (
            np.abs(
                np.array(shares(split, division.held_out)) - np.bincount(split.labels) / 2
            ).max()
            <= 1
        )


def test_every_image_is_held_out_under_some_seed_and_selected_under_another() -> None:
    split = make_split([0, 0, 0, *range(1, 8)], [0] * 10)
    counts = sum(
        np.isin(np.arange(10), divide(split, 0.5, seed).held_out).astype(int) for seed in range(50)
    )
    assert (counts > 10).all()
    assert (counts < 40).all()


def test_a_class_of_duplicates_and_one_other_image_is_in_both_parts() -> None:
    split = make_split([7, 7, 7, 7, 7, 7, 7, 7, 7, 1], [0] * 10)
    for holdout in (0.05, 0.5, 0.9):
        division = divide(split, holdout, seed=0)
        assert {len(division.selection), len(division.held_out)} == {9, 1}


def test_classes_that_share_all_their_images_are_in_both_parts() -> None:
    split = make_split([1, 1, 2, 2], [0, 1, 0, 1])
    for seed in range(10):
        assert shares(split, divide(split, 0.1, seed).held_out) == [1, 1]


def test_no_holdout_selects_everything() -> None:
    division = divide(make_split([1, 2, 3], [0, 0, 1]), 0, seed=0)
    assert division.selection.tolist() == [0, 1, 2]
    assert division.held_out.dtype == np.int64
    assert len(division.held_out) == 0


@pytest.mark.parametrize("holdout", [-0.1, 0.95, float("nan")])
def test_a_holdout_out_of_range_is_refused(holdout: float) -> None:
    with pytest.raises(DataError, match=rf"{holdout}.*\[0, 0.9\]"):
        divide(make_split([1, 2], [0, 0]), holdout, seed=0)


def test_digest_tells_pixels_labels_classes_and_splits_apart() -> None:
    def digest(classes: str = "ab", last: int = 3, label: int = 1, swap: bool = False) -> str:
        one, two = make_split([1, 2], [0, 1]), make_split([2, last], [0, label])
        first, second = (two, one) if swap else (one, two)
        return Dataset(tuple(classes), {"TRAIN": first, "TEST": second, "TEST2": one}).digest

    variants = [digest(), digest("ac"), digest(last=4), digest(label=0), digest(swap=True)]
    assert len(set(variants)) == 5
    assert digest() == digest()
