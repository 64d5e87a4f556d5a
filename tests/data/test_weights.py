"""Weights of images: read, refused, packed, imported and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shiftsearch.data.scan
from shiftsearch.data.cache import open_dataset, open_pack
from shiftsearch.data.check import check
from shiftsearch.data.convert import import_images, write_folder
from shiftsearch.data.dataset import SPLITS, DataError, Split
from shiftsearch.data.image_folder import read_folder
from shiftsearch.data.weights import effective_number, mean_one

pytestmark = pytest.mark.unit

NAMES = [f"cat/{i:04d}.npy" for i in range(3)] + [f"dog/{i:04d}.npy" for i in range(4)]
VALUES = [0.5, 0, 2, 1e-3, 1, 1, 0.1 + 0.2]


def put(folder: Path, split: str = "TEST", rows: list[str] | None = None) -> Path:
    """Write weights.csv, by default in reverse order."""
    own = [f"{name},{value!r}" for name, value in zip(NAMES, VALUES, strict=True)]
    file = folder / split / "weights.csv"
    lines = own[::-1] if rows is None else rows
    file.write_text("\n".join(["path,weight", *lines]) + "\n", encoding="utf-8")
    return file


def test_weights_are_read_in_the_order_of_the_images(folder: Path) -> None:
    plain, _ = read_folder(folder)
    put(folder)
    dataset, warnings = read_folder(folder)
    assert warnings == []
    found = dataset.splits["TEST"].weights
    assert found is not None
    assert found.tolist() == VALUES
    assert dataset.splits["TRAIN"].weights is None
    assert dataset.splits["TRAIN"].digest() == plain.splits["TRAIN"].digest()
    assert dataset.digest != plain.digest
    assert dataset.splits["TEST"].take(np.array([6, 2])).weights.tolist() == [VALUES[6], 2]


def test_the_digest_without_weights_is_that_of_earlier_versions() -> None:
    split = Split(np.zeros((2, 16, 16), np.uint8), np.array([0, 1]))
    assert split.digest() == "784fb57c34162ee0c3e5da2e1d82baa5"


def row(index: int, text: str) -> list[str]:
    rows = [f"{name},1" for name in NAMES]
    rows[index : index + 1] = [text] if text else []
    return rows


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        (row(1, "cat/0001.npy,-1"), 3, "'-1'"),
        (row(1, "cat/0001.npy,nan"), 3, "'nan'"),
        (row(1, "cat/0001.npy,inf"), 3, "'inf'"),
        (row(1, "cat/0001.npy,"), 3, "''"),
        (row(1, "cat/9.npy,1"), 3, "'cat/9.npy'"),
        (row(1, "../TRAIN/cat/0001.npy,1"), 3, "TRAIN"),
        (row(1, "cat/0000.npy,1"), 3, "earlier"),
        (row(1, "cat/0001.npy"), 3, "1 values"),
        (row(1, ""), None, "cat/0001.npy has no row"),
        ([f"{name},0" for name in NAMES], None, "0"),
    ],
)
def test_a_wrong_row_is_refused_in_one_line(
    folder: Path, rows: list[str], line: int | None, words: str
) -> None:
    file = put(folder, rows=rows)
    with pytest.raises(DataError) as error:
        read_folder(folder)
    (problem,) = error.value.found
    assert problem.startswith(f"{file}:{line}: " if line else f"{file}: ")
    assert words in problem


def unreadable(file: Path) -> None:
    file.write_bytes(b"path,weight\n\xff")


def another_header(file: Path) -> None:
    file.write_text("name,weight\n")


def moved(file: Path) -> None:
    file.rename(file.parents[1] / "TEST2" / file.name)


@pytest.mark.parametrize("wrong", [unreadable, another_header, moved])
def test_a_wrong_file_is_refused_in_one_line(folder: Path, wrong: Callable[[Path], None]) -> None:
    wrong(put(folder))
    with pytest.raises(DataError) as error:
        read_folder(folder)
    assert len(error.value.found) == 1
    assert "weights.csv" in error.value.found[0]


def test_every_wrong_row_has_its_line(folder: Path) -> None:
    put(folder, rows=[f"{name},-1" for name in NAMES])
    put(folder, "TRAIN", rows=[f"{name},x" for name in NAMES])
    with pytest.raises(DataError) as error:
        read_folder(folder)
    assert len(error.value.found) == 14


def test_packs_keep_weights_and_notice_changed_ones(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    plain, _ = open_dataset(folder, cache)
    file = put(folder)
    first, _ = open_dataset(folder, cache)
    again, _ = open_dataset(folder, cache)
    for dataset in (first, again):
        assert np.array(dataset.splits["TEST"].weights).tolist() == VALUES
    assert isinstance(again.splits["TEST"].weights, np.memmap)
    assert len({plain.digest, first.digest}) == 2
    assert again.digest == first.digest
    file.unlink()
    assert open_dataset(folder, cache)[0].digest == plain.digest


def test_a_pack_of_an_earlier_version_has_no_weights(folder: Path, tmp_path: Path) -> None:
    open_dataset(folder, tmp_path / "cache")
    (pack,) = (tmp_path / "cache").iterdir()
    record = json.loads((pack / "pack.json").read_text())
    assert record.pop("weighted") == []
    (pack / "pack.json").write_text(json.dumps(record))
    assert all(split.weights is None for split in open_pack(pack).splits.values())


def test_the_pack_of_a_version_that_skipped_weights_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shiftsearch.data.scan, "WEIGHTS", "unknown.csv")
        earlier, _ = open_dataset(folder, tmp_path / "cache")
    assert earlier.splits["TEST"].weights is None
    assert open_dataset(folder, tmp_path / "cache")[0].splits["TEST"].weights is not None


def test_a_written_folder_has_the_same_weights(folder: Path, tmp_path: Path) -> None:
    put(folder, "TRAIN")
    dataset, _ = read_folder(folder)
    write_folder(dataset, tmp_path / "written")
    assert read_folder(tmp_path / "written")[0].digest == dataset.digest


def test_an_import_takes_weights_along(tmp_path: Path) -> None:
    source, rng = tmp_path / "source", np.random.default_rng(0)
    for split in SPLITS:
        for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
            (source / split / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(source / split / name)
    put(source, "TRAIN", ["dog/a.png,3", "cat/b.png,2", "cat/a.png,1"])
    import_images(source, tmp_path / "set")
    dataset, _ = read_folder(tmp_path / "set")
    assert np.array(dataset.splits["TRAIN"].weights).tolist() == [1, 2, 3]
    put(source, "TRAIN", ["dog/a.png,3"])
    with pytest.raises(DataError, match=r"cat/a\.png"):
        import_images(source, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_check_says_how_uneven_weights_are(folder: Path) -> None:
    put(folder, rows=[*(f"{name},2" for name in NAMES[:4]), *(f"{n},0" for n in NAMES[4:])])
    found = check(read_folder(folder)[0])
    assert found.weights == {"TEST": pytest.approx((0, 7 / 4, 4))}


def test_weights_relative_to_their_mean() -> None:
    assert mean_one(np.array([1.0, 3.0])).tolist() == [0.5, 1.5]
    assert mean_one(np.array([1e308, 1e308, 0])).tolist() == [1.5, 1.5, 0]
    assert effective_number(np.ones(5)) == 5
    assert effective_number(np.array([1.0, 0, 0])) == 1
