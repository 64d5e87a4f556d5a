"""Folders of pictures read directly: the same dataset as by an import, and packed once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shiftsearch.data.cache
from shiftsearch.data.cache import open_dataset
from shiftsearch.data.convert import import_images
from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.image_folder import read_folder
from shiftsearch.data.reading import Reading

pytestmark = pytest.mark.unit


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folders train, val, test with classes cat (3) and dog (2): random gray PNG, 20x17."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name, count in (("cat", 3), ("dog", 2)):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(256, size=(20, 17), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / split / name / f"{index}.png")
    return tmp_path / "set"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


HOW = [Reading(), Reading(size=(16, 16)), Reading(size=(16, 16), aspect="crop")]


@pytest.mark.parametrize("how", HOW)
def test_it_is_the_dataset_that_an_import_makes(
    pictures: Path, cache: Path, tmp_path: Path, how: Reading
) -> None:
    import_images(pictures, tmp_path / "npy", how)
    imported, _ = read_folder(tmp_path / "npy")
    direct, _ = open_dataset(pictures, cache, how=how)
    again, _ = open_dataset(pictures, cache, how=how)
    assert direct.digest == again.digest == imported.digest
    for found in (direct, again):
        names = found.splits["TEST2"].files
        assert names is not None
        assert names[3] == b"test/dog/0.png"
    assert direct.aspect == again.aspect == imported.aspect == how.aspect
    assert direct.image_size == (how.size or (20, 17))


def test_pictures_are_decoded_once_for_each_way_of_reading(
    pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for how in HOW:
        open_dataset(pictures, cache, how=how)
    monkeypatch.setattr(shiftsearch.data.cache, "read_any", None)
    digests = {open_dataset(pictures, cache, how=how)[0].digest for how in HOW}
    assert len(digests) == len(HOW)
    os.utime(pictures / "val" / "cat" / "0.png")
    with pytest.raises(TypeError):
        open_dataset(pictures, cache)


def test_weights_of_pictures_are_read(pictures: Path, cache: Path) -> None:
    rows = [f"cat/{i}.png,{i + 1}" for i in range(3)] + ["dog/0.png,4", "dog/1.png,5"]
    (pictures / "train" / "weights.csv").write_text("\n".join(["path,weight", *rows]))
    weights = open_dataset(pictures, cache)[0].splits["TRAIN"].weights
    assert weights is not None
    assert weights.tolist() == [1, 2, 3, 4, 5]


def test_a_folder_with_npy_files_is_read_as_one_of_npy_files(
    pictures: Path, cache: Path, tmp_path: Path
) -> None:
    import_images(pictures, tmp_path / "npy")
    shutil.copy(pictures / "train" / "cat" / "0.png", tmp_path / "npy" / "TRAIN" / "cat")
    dataset, warnings = open_dataset(tmp_path / "npy", cache)
    assert [len(dataset.splits[split]) for split in SPLITS] == [5, 5, 5]
    assert len(warnings) == 1
    assert open_dataset(tmp_path / "npy", cache, how=Reading(size=(20, 17)))[0] is not None
    with pytest.raises(DataError, match=r"npy: holds .npy files of 20x17 .* the size 16x16 is as"):
        open_dataset(tmp_path / "npy", cache, how=Reading(size=(16, 16)))


def test_one_split_of_pictures_is_enough_where_one_is_asked_for(
    pictures: Path, cache: Path
) -> None:
    whole, _ = open_dataset(pictures, cache)
    shutil.rmtree(pictures / "train")
    alone, _ = open_dataset(pictures, cache, ("TEST2",))
    assert alone.splits["TEST2"].digest() == whole.splits["TEST2"].digest()


def test_every_bad_file_is_named(pictures: Path, cache: Path) -> None:
    (pictures / "val" / "cat" / "0.png").write_bytes(b"no picture")
    (pictures / "val" / "dog" / "x.jpg").touch()
    shutil.rmtree(pictures / "test" / "dog")
    with pytest.raises(DataError) as caught:
        open_dataset(pictures, cache)
    starts = [line.partition(":")[0] for line in caught.value.problems]
    places = ("test", "val/cat/0.png", "val/dog/x.jpg")
    assert starts == [str(pictures / place) for place in places]
    assert not cache.exists()


def test_sizes_that_differ_are_refused_with_the_way(pictures: Path, cache: Path) -> None:
    Image.new("L", (30, 30), 3).save(pictures / "val" / "cat" / "0.png")
    with pytest.raises(DataError, match=r"2 sizes: 20x17 \(14\), 30x30 \(1\); .*images.size"):
        open_dataset(pictures, cache)
    dataset, (resized, blank) = open_dataset(pictures, cache, how=Reading(size=(20, 17)))
    assert dataset.image_size == (20, 17)
    assert "1 of 15" in resized
    assert blank.endswith("val/cat/0.png")
