"""Which folders are the splits: usual names, named ones, and what cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftsearch.data.dataset import DataError
from shiftsearch.data.reading import AS_IT_IS, Reading, parse_size, split_folders

pytestmark = pytest.mark.unit


def found(
    tmp_path: Path, names: str, how: Reading = AS_IT_IS, splits: str = "TRAIN TEST TEST2"
) -> str:
    for name in names.split():
        (tmp_path / name).mkdir()
    return " ".join(split_folders(tmp_path, how, splits.split()).values())


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("TRAIN TEST TEST2", "TRAIN TEST TEST2"),
        ("train test test2", "train test test2"),
        ("train tune target", "train tune target"),
        ("train val test", "train val test"),
        ("TRAIN VAL TEST", "TRAIN VAL TEST"),
        ("Train Validation Test notes", "Train Validation Test"),
        ("TRAIN TEST TEST2 val train test tune target", "TRAIN TEST TEST2"),
        ("TRAIN TEST", "TRAIN TEST TEST2"),
        ("TRAIN other", "TRAIN TEST TEST2"),
        ("", "TRAIN TEST TEST2"),
    ],
)
def test_usual_names_are_recognised(tmp_path: Path, names: str, wanted: str) -> None:
    assert found(tmp_path, names) == wanted


@pytest.mark.parametrize(
    ("names", "needed", "wanted"),
    [
        ("TEST2", "TEST2", "TRAIN TEST TEST2"),
        ("test", "TEST2", "TRAIN TEST test"),
        ("val test", "TEST", "TRAIN val test"),
        ("TRAIN TEST", "TEST2", "TRAIN TEST TEST2"),
        ("TRAIN TEST", "TEST", "TRAIN TEST TEST2"),
        ("train val test", "TEST", "train val test"),
    ],
)
def test_only_needed_splits_must_be_there(
    tmp_path: Path, names: str, needed: str, wanted: str
) -> None:
    assert found(tmp_path, names, splits=needed) == wanted


def test_named_folders_are_taken(tmp_path: Path) -> None:
    assert found(tmp_path, "day dusk night train", Reading("day", "dusk", "night")) == (
        "day dusk night"
    )
    assert " ".join(split_folders(tmp_path, Reading("train", "day", "dusk")).values()) == (
        "train day dusk"
    )


def test_a_named_folder_is_added_to_recognised_ones(tmp_path: Path) -> None:
    assert found(tmp_path, "train val scans", Reading(target="scans")) == "train val scans"


@pytest.mark.parametrize(
    ("names", "how", "rule"),
    [
        ("day dusk night", Reading(), "holds the folders day, dusk, night, but not TRAIN, TEST"),
        ("day dusk", Reading(train="day", tune="dawn"), "dawn: does not exist, but is named as"),
        ("day dusk", Reading(train="day", tune="day"), "a folder is named for two splits"),
        ("train val tune test target", Reading(), "can be read in 2 ways"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_way(
    tmp_path: Path, names: str, how: Reading, rule: str
) -> None:
    with pytest.raises(DataError) as caught:
        found(tmp_path, names, how)
    (line,) = caught.value.problems
    assert line.startswith(str(tmp_path))
    assert rule in line
    assert "two splits" in line or "dawn" in line or "--train NAME --tune NAME" in line


def test_sizes_are_a_side_or_height_by_width() -> None:
    assert parse_size("28") == (28, 28)
    assert parse_size(" 16x1024") == (16, 1024)
    for text in ("", "15", "28x", "x28", "28x15", "1025", "28x28x28", "-28", "28.0", "٢٨"):
        with pytest.raises(ValueError, match="must be N or HxW"):
            parse_size(text)
