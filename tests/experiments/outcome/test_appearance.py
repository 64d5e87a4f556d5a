"""Shifts of brightness and contrast are told from shifts of figures, by known ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.outcome.appearance import appearance, energy_distance, shift
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.prepared import division_of

pytestmark = pytest.mark.unit

Images = NDArray[np.float32]


@pytest.fixture(scope="module")
def images() -> Images:
    """[600, 28, 28] float32: bright figures on a dark ground, in no order."""
    made = synthesize(0, 28, {"TRAIN": 600, "TEST": 6, "TEST2": 6}).splits["TRAIN"].images
    return np.random.default_rng(0).permutation(made).astype(np.float32) / 255


def share(found: dict[str, float]) -> float:
    return 1 - found["rest"] / found["distance"]


def test_a_set_that_is_only_dimmer_differs_in_brightness_and_contrast(images: Images) -> None:
    assert share(shift(images[:300], images[300:] * 0.35 + 0.4)) > 0.95
    each = np.random.default_rng(0).uniform(0, 0.5, (300, 1, 1)).astype(np.float32)
    assert share(shift(images[:300], images[300:] * 0.5 + each)) > 0.95


def test_turned_figures_are_another_shift_even_if_they_are_brighter(images: Images) -> None:
    turned = np.rot90(images[300:], axes=(1, 2))
    assert share(shift(images[:300], turned)) < 0.1
    assert share(shift(images[:300], turned * 0.8 + 0.15)) < 0.5


def test_the_distance_of_two_halves_of_a_set_is_near_nothing(images: Images) -> None:
    assert energy_distance(images[:300], images[300:]) < 0.05
    assert energy_distance(images[:2], images[:2]) == 0  # not larger than nothing
    black, white = np.zeros((3, 2, 2), np.float32), np.ones((4, 2, 2), np.float32)
    assert energy_distance(black, white) == pytest.approx(2**0.5)  # 2 E|X - Y| is 2
    assert shift(black, white) == {"distance": pytest.approx(2**0.5), "rest": 0}
    assert energy_distance(black[:1], white[:1]) == pytest.approx(2**0.5)  # one image each


def test_the_distance_is_that_of_all_pairs(images: Images) -> None:
    first, second = images[:4], images[4:9] + 0.25

    def mean(pairs: list[tuple[Images, Images]]) -> float:
        return float(np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs]))

    within = [
        mean([(a, b) for i, a in enumerate(own) for j, b in enumerate(own) if i != j])
        for own in (first, second)
    ]
    squared = 2 * mean([(a, b) for a in first for b in second]) - sum(within)
    assert energy_distance(first, second) == pytest.approx(squared**0.5, rel=1e-5)


def test_the_held_out_part_and_polarity_change_nothing(tiny_dataset: Dataset) -> None:
    protocol = Protocol(holdout=0.5)
    found = appearance(tiny_dataset, protocol)
    division, splits = division_of(tiny_dataset, protocol), tiny_dataset.splits
    assert found["splits"]["TEST2"]["n"] == len(division.selection)
    assert found["splits"].keys() == splits.keys()
    assert [(s["first"], s["second"]) for s in found["shifts"]] == [
        ("TRAIN", "TEST2"),
        ("TEST", "TEST2"),
    ]
    test2 = np.array(splits["TEST2"].images)
    test2[division.held_out] = 0
    test2[division.selection] = 255 - test2[division.selection]
    changed = {**splits, "TEST2": replace(splits["TEST2"], images=test2)}
    other = appearance(replace(tiny_dataset, splits=changed), protocol)
    for name, split in found["splits"].items():
        assert other["splits"][name] == pytest.approx(split, abs=1e-6)
    for one, two in zip(found["shifts"], other["shifts"], strict=True):
        for key in ("distance", "rest"):
            assert one[key] == pytest.approx(two[key], abs=1e-3)
