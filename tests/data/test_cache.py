"""Packs: the same dataset again, changes noticed, damage and refusal survived."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import shiftsearch.data.cache
from shiftsearch.data.cache import keep_pack, open_dataset, open_pack, save_pack
from shiftsearch.data.dataset import DataError
from shiftsearch.data.image_folder import read_folder
from shiftsearch.data.reading import Reading
from shiftsearch.data.scan import Scan

pytestmark = pytest.mark.unit


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The dataset folders whose files were read."""
    noted: list[Path] = []
    real = shiftsearch.data.cache.read_any

    def noting(scan: Scan, how: Reading) -> object:
        noted.append(scan.folder)
        return real(scan, how)

    monkeypatch.setattr(shiftsearch.data.cache, "read_any", noting)
    return noted


def rewrite(folder: Path) -> None:
    path = folder / "TEST" / "dog" / "0001.npy"
    np.save(path, np.load(path)[::-1].copy())


def add(folder: Path) -> None:
    np.save(folder / "TEST2" / "cat" / "9.npy", np.ones((16, 17), dtype=np.uint8))


def remove(folder: Path) -> None:
    (folder / "TRAIN" / "dog" / "0003.npy").unlink()


def rename(folder: Path) -> None:
    (folder / "TRAIN" / "dog" / "0000.npy").rename(folder / "TRAIN" / "dog" / "9.npy")


def test_the_second_opening_maps_the_pack_of_the_first(
    folder: Path, cache: Path, reads: list[Path]
) -> None:
    (folder / "TEST" / "stray.txt").touch()
    first, warnings = open_dataset(folder, cache)
    second, again = open_dataset(folder, cache)
    assert len(reads) == 1
    assert again == warnings
    assert "stray" in warnings[0]
    assert warnings[0].endswith(": 1")
    assert (second.digest, second.classes) == (first.digest, first.classes)
    for name, split in second.splits.items():
        assert isinstance(split.images, np.memmap)
        assert np.array_equal(split.images, first.splits[name].images)
        assert np.array_equal(split.labels, first.splits[name].labels)
        assert split.labels.dtype == np.int64
        assert split.files is not None
        assert np.array_equal(split.files, first.splits[name].files)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0] = 0


@pytest.mark.parametrize("change", [rewrite, add, remove, rename])
def test_a_changed_folder_is_read_afresh_and_its_old_pack_removed(
    folder: Path, cache: Path, reads: list[Path], change: Callable[[Path], None]
) -> None:
    open_dataset(folder, cache)
    change(folder)
    dataset, _ = open_dataset(folder, cache)
    assert dataset.digest == read_folder(folder)[0].digest
    assert open_dataset(folder, cache)[0].digest == dataset.digest
    assert len(reads) == 2
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, path.stat().st_size - 2),
        lambda path: path.write_bytes(path.read_bytes()[:-4] + b"ruin"),
        lambda path: path.write_bytes(path.read_bytes().replace(b"s", b"(")),
    ],
)
@pytest.mark.parametrize("name", ["pack.json", "TEST.images.npy", "TRAIN.labels.npy"])
def test_a_damaged_pack_is_replaced(
    folder: Path, cache: Path, reads: list[Path], name: str, damage: Callable[[Path], None]
) -> None:
    whole, _ = open_dataset(folder, cache)
    (pack,) = cache.iterdir()
    damage(pack / name)
    for _ in range(2):
        dataset, warnings = open_dataset(folder, cache)
        assert dataset.digest == whole.digest
        assert np.array_equal(dataset.splits["TEST"].images, whole.splits["TEST"].images)
        assert warnings == []
    assert len(reads) == 2


@pytest.mark.parametrize("record", ["[]", "{}", '{"format": 0}', '{"format": 1, "digest": ""}'])
def test_a_pack_with_another_record_is_replaced(
    folder: Path, cache: Path, reads: list[Path], record: str
) -> None:
    open_dataset(folder, cache)
    (path,) = cache.glob("*/pack.json")
    path.write_text(record)
    open_dataset(folder, cache)
    open_dataset(folder, cache)
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_costs_a_warning(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    dataset, (warning,) = open_dataset(folder, tmp_path / "file" / "cache")
    assert dataset.digest == read_folder(folder)[0].digest
    assert str(tmp_path / "file" / "cache") in warning


def test_the_environment_names_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("SHIFTSEARCH_CACHE", raising=False)
    for variable, value, expected in (
        ("HOME", "home", "home/.cache/shiftsearch"),
        ("XDG_CACHE_HOME", "xdg", "xdg/shiftsearch"),
        ("SHIFTSEARCH_CACHE", "own", "own"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / value))
        open_dataset(folder)
        assert len(list((tmp_path / expected).iterdir())) == 1


def test_two_folders_have_two_packs(folder: Path, cache: Path, tmp_path: Path) -> None:
    open_dataset(folder, cache)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    rewrite(other)
    assert open_dataset(other, cache)[0].digest != open_dataset(folder, cache)[0].digest
    assert len(list(cache.iterdir())) == 2


def test_a_run_s_pack_opens_only_under_its_digest(folder: Path, tmp_path: Path) -> None:
    dataset, _ = read_folder(folder)
    pack = tmp_path / "run" / "dataset"
    for _ in range(2):
        save_pack(dataset, pack)
    assert open_pack(pack, digest=dataset.digest).digest == dataset.digest
    assert [path.name for path in pack.parent.iterdir()] == ["dataset"]
    with pytest.raises(DataError, match=rf"holds dataset {dataset.digest}, but must hold 0123"):
        open_pack(pack, digest="0123")
    with pytest.raises(DataError, match="not a complete pack"):
        open_pack(tmp_path / "nowhere")


def test_an_interrupted_write_leaves_the_old_pack(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = read_folder(folder)
    pack = tmp_path / "run" / "dataset"
    save_pack(dataset, pack)
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_pack(dataset, pack)
    assert open_pack(pack).digest == dataset.digest
    assert [path.name for path in pack.parent.iterdir()] == ["dataset"]


def test_a_pack_keeps_what_the_values_of_the_files_meant(folder: Path, cache: Path) -> None:
    for path in folder.rglob("*.npy"):
        np.save(path, np.load(path).astype(np.float32))
    (folder / "imported.json").write_text('{"bits": 12}')
    for _ in range(2):
        dataset, _ = open_dataset(folder, cache)
        assert (dataset.scale, dataset.bits) == ("float 0..255", 12)
    (pack,) = cache.iterdir()
    record = json.loads((pack / "pack.json").read_text())
    (pack / "pack.json").write_text(json.dumps(record | {"scale": "wide"}))
    with pytest.raises(DataError, match="scale is 'wide'"):
        open_pack(pack)
    for key in ("scale", "bits"):  # as an older run left its own pack
        del record[key]
    (pack / "pack.json").write_text(json.dumps(record))
    assert open_pack(pack).digest == dataset.digest


def test_a_pack_is_kept_while_it_holds_the_whole_dataset(folder: Path, tmp_path: Path) -> None:
    (dataset, _), pack = read_folder(folder), tmp_path / "pack"
    keep_pack(dataset, pack)
    first = (pack / "pack.json").stat().st_mtime_ns
    keep_pack(dataset, pack)
    assert (pack / "pack.json").stat().st_mtime_ns == first
    rewrite(folder)
    changed, _ = read_folder(folder)
    keep_pack(changed, pack)
    assert open_pack(pack).digest == changed.digest != dataset.digest
    (pack / "TEST.images.npy").unlink()
    keep_pack(changed, pack)
    assert np.array_equal(open_pack(pack).splits["TEST"].images, changed.splits["TEST"].images)
