"""An experiment that cannot run on its dataset is refused, by name and with counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shiftsearch.data.augmentation import max_translation
from shiftsearch.data.dataset import SPLITS, DataError, Dataset, Split
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.inputs import nothing_held_out, refuse_misfits

pytestmark = pytest.mark.unit


def dataset(in_test2: tuple[int, ...], size: tuple[int, int] = (28, 28)) -> Dataset:
    """Random images: so many of each class in TEST2, two of each in the others."""
    splits, rng = {}, np.random.default_rng(0)
    for name in SPLITS:
        counts = in_test2 if name == "TEST2" else (2,) * len(in_test2)
        labels = np.repeat(np.arange(len(counts)), counts)
        images = rng.integers(0, 256, (len(labels), *size), dtype=np.uint8)
        splits[name] = Split(images, labels)
    return Dataset(tuple("abcd"[: len(in_test2)]), splits)


def problems_of(raw: dict[str, Any], data: Dataset) -> tuple[str, ...]:
    try:
        refuse_misfits(build(raw, "tests"), data)
    except DataError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("seed", range(4))
def test_a_selection_part_that_lacks_classes_is_refused_class_by_class(seed: int) -> None:
    """One image cannot be in both parts; which one it is in, the seed decides."""
    data = dataset((1, 1, 2, 5))
    protocol = {"holdout": 0.5, "division_seed": seed}
    found = problems_of({"protocol": protocol}, data)
    assert all("has 1 images, and none" in line for line in found)
    assert {line.split("'")[1] for line in found} <= {"a", "b"}
    assert problems_of({"protocol": {**protocol, "holdout": 0}}, data) == ()


def test_folds_that_the_selection_part_cannot_fill_are_refused() -> None:
    data = dataset((6, 6))
    for folds, holdout, count in ((3, 0.5, 0), (6, 0, 0), (12, 0.5, 1), (20, 0, 1)):
        found = problems_of({"protocol": {"folds": folds, "holdout": holdout}}, data)
        assert len(found) == count
        images = 6 if holdout else 12
        assert all(f"protocol.folds: {folds}, but the {images} images" in line for line in found)


def test_an_empty_selection_part_is_refused() -> None:
    seeds = range(20)
    found = [problems_of({"protocol": {"division_seed": s}}, dataset((1, 1))) for s in seeds]
    assert {len(lines) for lines in found} == {0, 1, 2}
    (line, _) = next(lines for lines in found if len(lines) == 2)
    assert "protocol.holdout 0.5 (0 of 2 images are)" in line


@pytest.mark.parametrize(
    ("in_test2", "holdout", "lines"),
    [((1, 1), 0.4, 1), ((1, 1), 0, 0), ((2, 2), 0.4, 0), ((8, 8), 0.01, 0), ((1, 8), 0.01, 0)],
)
def test_a_share_that_holds_nothing_out_is_said(
    in_test2: tuple[int, ...], holdout: float, lines: int
) -> None:
    experiment = build({"protocol": {"holdout": holdout}}, "tests")
    found = nothing_held_out(experiment, dataset(in_test2))
    assert len(found) == lines
    assert all(f"holdout {holdout:g}" in line for line in found)


@pytest.mark.parametrize(
    ("size", "limit"), [((16, 16), 14), ((28, 28), 14), ((64, 40), 20), ((128, 128), 64)]
)
def test_translation_may_be_half_the_smaller_side(size: tuple[int, int], limit: float) -> None:
    assert max_translation(size) == limit
    data = dataset((4, 4), size)

    def problems(baseline: Any, fine_tune: Any) -> tuple[str, ...]:
        stages = {"baseline": baseline, "fine_tune": fine_tune}
        space = {name: {"augmentation": {"translation": v}} for name, v in stages.items()}
        return problems_of({"space": space}, data)

    assert problems(limit, {"low": 0, "high": limit}) == ()
    assert problems({"choices": [0, limit]}, {"low": 1, "high": limit, "log": True}) == ()
    over = limit + 0.5
    for wrong in (over, {"low": 0, "high": over}, {"choices": [over, 1]}):
        (line,) = problems(wrong, 0)
        assert line == (
            f"space.baseline.augmentation.translation: {over:g}, but must be at most {limit:g}"
            f" pixels for images of {size[0]}x{size[1]}"
        )
    assert len(problems(over, over)) == 2


def test_more_frozen_layers_than_any_network_has_are_refused() -> None:
    data = dataset((4, 4), (16, 16))

    def problems(frozen: Any, **network: Any) -> tuple[str, ...]:
        space = {"network": network, "fine_tune": {"frozen_layers": frozen}}
        return problems_of({"space": space}, data)

    assert problems({"low": 0, "high": 4}) == problems({"choices": [1, 4]}) == problems(4) == ()
    for wrong in (5, {"low": 0, "high": 5}, {"choices": [5, 0]}):
        (line,) = problems(wrong)
        assert line.startswith("space.fine_tune.frozen_layers: 5, but must be at most 4")
        assert len(problems(wrong, name="blocks", depth={"low": 2, "high": 3})) == 1
        assert problems(wrong, name="blocks", depth={"low": 2, "high": 4}) == ()
        assert problems(wrong, name={"choices": ["three blocks", "blocks"]}, depth=4) == ()


def test_images_too_small_for_a_depth_are_refused() -> None:
    """The data's own least side is 16, so such images are made here."""
    network = {"name": "blocks", "depth": {"low": 2, "high": 4}, "width": {"low": 0.5, "high": 2}}
    raw = {"space": {"network": network}}
    (line,) = problems_of(raw, dataset((4, 4), (16, 15)))
    assert line.startswith("space.network: name blocks, depth 4, width 0.5, ")
    assert line.endswith("images of at least 16x16 pixels, and these have 16x15")
    assert problems_of(raw, dataset((4, 4), (16, 16))) == ()


def test_weights_of_a_file_that_is_not_there_are_refused() -> None:
    plain = dataset((4, 4))
    weights = np.ones(len(plain.splits["TEST"]))
    test = replace(plain.splits["TEST"], weights=weights)
    weighted = Dataset(plain.classes, {**plain.splits, "TEST": test})

    def problems(data: Dataset, **stages: dict[str, Any]) -> int:
        return len(problems_of({"space": stages}, data))

    file, searched = {"sample_weights": "file"}, {"sample_weights": {"choices": ["none", "file"]}}
    for asked in (file, searched):
        assert problems(plain, baseline=asked, fine_tune=asked) == 2
        assert problems(weighted, baseline=asked, fine_tune=asked) == 1
        assert problems(weighted, fine_tune=asked) == 0
    first = replace(plain.splits["TRAIN"], weights=weights)
    train = Dataset(plain.classes, {**plain.splits, "TRAIN": first})
    assert problems(train, fine_tune=file) == 1
    assert problems(train, fine_tune={**file, "train_share": 0.5}) == 0
    assert problems(train, fine_tune={**file, "train_on": "TRAIN+TEST"}) == 0
    assert problems(plain, fine_tune={"sample_weights": "density_ratio"}) == 0
