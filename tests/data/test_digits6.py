"""The real dataset, where it is present, is whole and divided as the project's figures say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.check import check
from shiftsearch.data.dataset import divide, identical_images
from shiftsearch.data.image_folder import read_folder

pytestmark = pytest.mark.unit


@pytest.mark.slow(reason="reads 8,283 files, perhaps from a cold disk")
def test_digits6_is_whole_and_divides_as_published(digits6: Path) -> None:
    dataset, warnings = read_folder(digits6)
    assert [*warnings, *check(dataset).warnings] == []
    assert dataset.classes == tuple("012345")
    assert dataset.image_size == (28, 28)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "TRAIN": 4800,
        "TEST": 2400,
        "TEST2": 1083,
    }
    test2 = dataset.splits["TEST2"]
    division = divide(test2, 0.5, seed=0)
    assert (len(division.selection), len(division.held_out)) == (540, 543)
    positions = np.concatenate([division.selection, division.held_out])
    assert np.array_equal(np.sort(positions), np.arange(1083))
    selection, held_out = (np.bincount(test2.labels[part]) for part in vars(division).values())
    assert np.abs(selection - held_out).max() <= 1
    numbers = identical_images(test2.images)
    assert not np.isin(numbers[division.selection], numbers[division.held_out]).any()
