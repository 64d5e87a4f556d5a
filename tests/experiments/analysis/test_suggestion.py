"""What the measured shift suggests to search."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from shiftsearch.data.dataset import SPLITS, Dataset, Split
from shiftsearch.experiments.analysis.suggestion import (
    Measures,
    measure,
    measure_splits,
    suggested,
    suggestion,
)
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.last_words import say_of_data
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.prepared import division_of
from shiftsearch.search.proposing.space import Space

pytestmark = pytest.mark.unit

ALIKE = Measures(level=0.2, contrast=0.3, inverted=0.0, off_centre=1.0)


def squares(count: int, figure: int, outside: int, right: int = 0) -> np.ndarray:
    """[count, 20, 20] uint8 with a square of 8x8, so many pixels right of the middle."""
    images = np.full((count, 20, 20), outside, np.uint8)
    images[:, 6:14, 6 + right : 14 + right] = figure
    return images


def drifting(**changes: int) -> Dataset:
    """Bright squares on dark, and other ones in TEST2; one pixel tells the images apart."""
    splits = {}
    for name in SPLITS:
        values = {"figure": 250, "outside": 0} | (changes if name == "TEST2" else {})
        images = squares(20, **values)
        images[:, 3, 3] += np.arange(20, dtype=np.uint8) // 4
        images[:, 4, 4] += np.arange(20, dtype=np.uint8) % 4
        splits[name] = Split(images, np.arange(20) % 2)
    return Dataset(("a", "b"), splits)


def test_the_measures_of_squares() -> None:
    share = 64 / 400
    found = measure(squares(3, 255, 0, right=3))
    assert found.level == pytest.approx(share)
    assert found.contrast == pytest.approx((share * (1 - share)) ** 0.5)
    assert (found.inverted, found.off_centre) == (0, 3)
    negative = measure(squares(3, 0, 255, right=3))
    assert (negative.level, negative.inverted) == (found.level, 1)
    floats = measure((squares(3, 255, 0) / np.float32(255)).astype(np.float32))
    assert floats.level == pytest.approx(share)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({}, set()),
        ({"inverted": 0.09}, set()),
        ({"inverted": 0.5}, {"polarity"}),
        ({"level": 0.29}, set()),
        ({"level": 0.31}, {"intensity"}),
        ({"contrast": 0.23}, {"intensity"}),
        ({"off_centre": 2.5}, {"centre"}),
        (
            {"inverted": 1.0, "contrast": 0.4, "off_centre": 3.0},
            {"polarity", "intensity", "centre"},
        ),
    ],
)
def test_only_what_differs_is_suggested(other: dict[str, float], names: set[str]) -> None:
    changed = Measures(**{**vars(ALIKE), **other})
    assert set(suggested({"TRAIN": ALIKE, "TEST": ALIKE, "TEST2": changed}, 28)) == names


def test_a_polarity_that_all_images_share_is_not_suggested() -> None:
    def found(*inverted: float) -> bool:
        measures = (Measures(**{**vars(ALIKE), "inverted": x}) for x in inverted)
        return "polarity" in suggested(dict(zip(SPLITS, measures, strict=True)), 28)

    assert not found(1.0, 1.0, 0.95)
    assert found(1.0, 1.0, 0.85)
    assert found(0.5, 0.5, 0.5)


def test_the_line_has_the_values_and_the_choices_that_a_space_takes() -> None:
    line = suggestion(drifting(figure=60, outside=200), Protocol(), Space.parse({}))
    assert "dark on bright 0, 0, 100 %" in line
    choices = line.partition("consider in the space: ")[2].split("; ")
    assert choices == [
        "preprocessing.polarity: {choices: [none, bright_on_dark]}",
        "preprocessing.intensity: {choices: [none, standardise, equalise, stretch]}",
    ]
    assert suggestion(drifting(), Protocol(), Space.parse({})) == ""


def test_what_the_space_has_is_not_suggested() -> None:
    inverted = drifting(figure=0, outside=250)
    searched = {"preprocessing": {"polarity": {"choices": ["none", "bright_on_dark"]}}}
    for raw in (searched, {"preprocessing": {"polarity": "bright_on_dark"}}):
        assert suggestion(inverted, Protocol(), Space.parse(raw)) == ""
    assert suggestion(inverted, Protocol(), Space.parse({})) != ""


def test_the_held_out_part_is_not_looked_at() -> None:
    data, protocol = drifting(), Protocol()
    before = measure_splits(data, protocol)
    images = data.splits["TEST2"].images.copy()
    held_out = division_of(data, protocol).held_out
    images[held_out] = 255 - images[held_out]
    test2 = Split(images, data.splits["TEST2"].labels)
    division = division_of(data, protocol)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shiftsearch.model.prepared.divide", lambda *_: division)
        other = Dataset(data.classes, {**data.splits, "TEST2": test2})
        assert measure_splits(other, protocol) == before


def test_a_search_says_its_data_first_and_this_as_one_line_after_the_warnings() -> None:
    said = io.StringIO()
    console = Console(file=said, width=40)
    say_of_data(console, build({}, "tests"), drifting(figure=0, outside=250), ["a warning"])
    lines = said.getvalue().splitlines()
    assert lines[0] == (
        "data: synthetic images, drift camera, seed 0; 2 classes, 20x20; "
        "TRAIN 20, TEST 20, TEST2 20"
    )
    assert lines[1] == "warning: a warning"
    assert len(lines) == 3
    assert lines[2].endswith("preprocessing.polarity: {choices: [none, bright_on_dark]}")
