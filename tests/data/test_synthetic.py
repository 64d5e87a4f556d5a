"""The procedural set: reproducible bytes, asked counts and sizes, domains that drift."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.drifts import DRIFTS
from shiftsearch.data.synthetic import synthesize

pytestmark = pytest.mark.unit

SMALL = {"TRAIN": 24, "TEST": 13, "TEST2": 6}


def test_equal_arguments_give_equal_bytes_and_another_seed_gives_others() -> None:
    first, again, other = (synthesize(seed, counts=SMALL) for seed in (3, 3, 4))
    assert first.digest == again.digest
    for name in SPLITS:
        assert first.splits[name].images.tobytes() == again.splits[name].images.tobytes()
        assert not np.array_equal(first.splits[name].images, other.splits[name].images)


def test_a_split_does_not_depend_on_the_other_counts_or_on_the_global_generator() -> None:
    first = synthesize(0, counts=SMALL)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what must not matter
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    second = synthesize(0, counts={**SMALL, "TRAIN": 60})
    assert first.splits["TEST2"].digest() == second.splits["TEST2"].digest()
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index,arg-type]  # noqa: NPY002


def test_classes_are_balanced_and_images_are_bytes_of_the_asked_size() -> None:
    for size in (16, 28, 32):
        dataset = synthesize(0, size=size, counts=SMALL)
        assert list(dataset.classes) == sorted(set(dataset.classes))
        assert len(dataset.classes) == 6
        for name, count in SMALL.items():
            split = dataset.splits[name]
            assert split.images.dtype == np.uint8
            assert split.labels.dtype == np.int64
            assert split.images.shape == (count, size, size)
            per_class = np.bincount(split.labels, minlength=6)
            assert per_class.max() - per_class.min() <= 1


def test_a_figure_keeps_its_place_when_the_size_changes() -> None:
    """Ink covers the same fraction of the image, so nothing is cut off at a small size."""
    counts = {"TRAIN": 300, "TEST": 6, "TEST2": 6}
    drawn = [synthesize(0, size=size, counts=counts) for size in (16, 28, 32)]
    means = [dataset.splits["TRAIN"].images.mean() for dataset in drawn]
    assert max(means) / min(means) < 1.05


def test_the_default_set_is_the_calibrated_one_on_every_machine() -> None:
    """The figures in the module's docstring belong to these bytes: a new digest, new figures."""
    dataset = synthesize()
    assert dataset.digest == "9dfc381c0c0a8637d28310ad82ab8f07"
    assert {name: len(dataset.splits[name]) for name in SPLITS} == dict(DRIFTS["camera"].counts)
    images = np.concatenate([dataset.splits[name].images.reshape(-1, 784) for name in SPLITS])
    assert len(np.unique(images, axis=0)) == len(images)


def test_a_drift_has_its_own_images_and_their_number() -> None:
    dataset = synthesize(drift="light")
    assert dataset.digest == "9acc5ff61553c40cc20cfd4b06f5673d"
    assert {name: len(dataset.splits[name]) for name in SPLITS} == dict(DRIFTS["light"].counts)
    few = [synthesize(counts=SMALL, drift=drift).splits["TRAIN"].digest() for drift in DRIFTS]
    assert len(set(few)) == len(DRIFTS)
    with pytest.raises(DataError, match="drift is 'dark', but must be one of camera, light"):
        synthesize(drift="dark")


def test_domains_drift_in_one_direction() -> None:
    """Brighter ground and busier pixels from each domain to the next; labels stay balanced."""
    splits = synthesize().splits
    brightness = [splits[name].images.mean() for name in SPLITS]
    pixels = [splits[name].images.astype(np.float32) for name in SPLITS]
    roughness = [float(np.abs(np.diff(images[:, :2], axis=2)).mean()) for images in pixels]
    assert brightness[0] + 20 < brightness[1] < brightness[2] - 20
    assert roughness[0] < roughness[1] < roughness[2]


@pytest.mark.parametrize(
    ("seed", "size", "counts", "line"),
    [
        (-1, 28, None, "seed is -1, but must be at least 0"),
        (0, 15, None, "size is 15, but must be at least 16"),
        (0, 28, {"TRAIN": 60, "TEST": 60}, "counts name ['TEST', 'TRAIN'], but must name"),
        (0, 28, {**SMALL, "TEST": 5}, "counts['TEST'] is 5, but must be at least 6"),
    ],
)
def test_wrong_arguments_are_refused_with_value_and_rule(
    seed: int, size: int, counts: Mapping[str, int] | None, line: str
) -> None:
    with pytest.raises(DataError) as error:
        synthesize(seed, size, counts)
    assert line in str(error.value)
