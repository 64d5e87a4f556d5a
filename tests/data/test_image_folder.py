"""Reading folders: what is accepted, what is skipped, and one line for each thing refused."""

from __future__ import annotations

import os
import pickle
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.dataset import DataError
from shiftsearch.data.image_folder import read_folder

pytestmark = pytest.mark.unit


class Bomb:
    """Leaves a file behind when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


def change_all(folder: Path, change: Callable[[np.ndarray], np.ndarray], under: str = "") -> None:
    for path in (folder / under).rglob("*.npy"):
        np.save(path, change(np.load(path)))


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    return list(caught.value.problems)


def test_images_come_by_class_then_name_whatever_the_file_system_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, warnings = read_folder(folder)
    assert warnings == []
    assert dataset.classes == ("cat", "dog")
    assert dataset.image_size == (16, 17)
    for name, split in dataset.splits.items():
        assert split.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
        assert split.images.dtype == np.uint8
        paths = sorted((folder / name).glob("*/*.npy"))
        for path, image in zip(paths, split.images, strict=True):
            assert np.array_equal(np.load(path)[..., 0], image)

    class Backwards(list):  # type: ignore[type-arg]
        def __enter__(self) -> Backwards:
            return self

        def __exit__(self, *_: object) -> None: ...

    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Backwards(list(real(path))[::-1]))
    assert read_folder(folder)[0].digest == dataset.digest


def test_strays_never_shift_a_label_and_are_counted(folder: Path) -> None:
    plain, _ = read_folder(folder)
    (folder / "README").touch()
    for split in ("TRAIN", "TEST2"):
        (folder / split / "a_stray.txt").touch()
        (folder / split / ".cache").mkdir()
    (folder / "TEST" / "0000.npy").touch()
    (folder / "TEST" / "cat" / "._0000.npy").touch()
    (folder / "TEST" / "cat" / "notes.txt").touch()
    (folder / "TEST" / "dog" / "nested.npy").mkdir()
    dataset, warnings = read_folder(folder)
    assert dataset.digest == plain.digest
    assert len(warnings) == 2
    assert warnings[0].endswith(": 8")
    assert "left out images" in warnings[1]
    assert ": 1, in " in warnings[1]
    assert "TEST (1)" in warnings[1]


def test_images_in_folders_inside_class_folders_are_counted_not_called_strays(
    folder: Path,
) -> None:
    plain, _ = read_folder(folder)
    for name, count in (("patient1", 2), (".ipynb_checkpoints", 3), ("empty", 0)):
        inner = folder / "TRAIN" / "cat" / name / "deeper"
        inner.mkdir(parents=True)
        for index in range(count):
            np.save(inner / f"{index}.npy", np.zeros((16, 17), dtype=np.uint8))
    dataset, warnings = read_folder(folder)
    assert dataset.digest == plain.digest
    assert warnings[0].endswith(": 2")
    assert "left out images" in warnings[1]
    assert ": 2, in " in warnings[1]
    assert "TRAIN/cat/patient1 (2)" in warnings[1]
    for path in (folder / "TRAIN" / "cat").glob("*.npy"):
        path.unlink()
    (problem,) = problems_of(folder)
    assert "TRAIN/cat: holds no .npy file itself, but 2 in folders inside it" in problem


def test_one_class_is_refused_with_its_counts(folder: Path) -> None:
    for split in ("TRAIN", "TEST", "TEST2"):
        shutil.rmtree(folder / split / "cat")
    (problem,) = problems_of(folder)
    assert problem.startswith(f"{folder}: holds one class, 'dog' (images: TRAIN 4, TEST 4, TEST2")


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


def test_two_unicode_forms_of_a_class_name_are_one_class(folder: Path) -> None:
    plain, _ = read_folder(folder)
    for split, name in (("TRAIN", COMPOSED), ("TEST", DECOMPOSED), ("TEST2", COMPOSED)):
        (folder / split / "cat").rename(folder / split / name)
    dataset, warnings = read_folder(folder)
    assert warnings == []
    assert dataset.classes == (COMPOSED, "dog")
    for name, split in plain.splits.items():
        assert np.array_equal(dataset.splits[name].images, split.images)
    shutil.copytree(folder / "TEST" / DECOMPOSED, folder / "TEST" / COMPOSED)
    (problem,) = problems_of(folder)
    assert "cafe\\u0301" in problem
    assert "caf\\xe9" in problem


def test_a_form_that_all_splits_share_is_kept(folder: Path) -> None:
    """Else the digest of a set, and with it the identity of its runs, would change."""
    for split in ("TRAIN", "TEST", "TEST2"):
        (folder / split / "cat").rename(folder / split / DECOMPOSED)
    assert read_folder(folder)[0].classes == (DECOMPOSED, "dog")


def test_blank_images_are_named(folder: Path) -> None:
    paths = sorted((folder / "TRAIN").rglob("*.npy"))[:5]
    for value, path in enumerate(paths):
        np.save(path, np.full((16, 17), 50 * value, dtype=np.uint8))
    (warning,) = read_folder(folder)[1]
    assert warning.startswith("blank images (a single value): 5: ")
    assert warning.endswith(f"{paths[0]}, {paths[1]}, {paths[2]} and 2 more")


def floats(folder: Path, factor: float) -> None:
    """Store the images as float32, 0..255 times `factor`, with at least one white pixel each."""

    def change(image: np.ndarray) -> np.ndarray:
        image[0, 0], image[0, 1] = 0, 255
        return (image * factor).astype(np.float32)

    change_all(folder, change)


@pytest.mark.parametrize("over", [1.0000002, 1.0009])
def test_floats_a_hair_outside_0_to_1_are_clipped_with_a_word(folder: Path, over: float) -> None:
    floats(folder, over / 255)
    path = folder / "TEST" / "cat" / "0001.npy"
    np.save(path, np.load(path) - np.float32(1e-5))
    dataset, (warning,) = read_folder(folder)
    assert dataset.scale == "float 0..1"
    for split in dataset.splits.values():
        assert (split.images.min(), split.images.max()) == (0, 1)
    assert "a little outside 0..1" in warning


@pytest.mark.parametrize("over", [1.002, 1.15, 7.9])
def test_floats_that_are_on_no_scale_are_refused_in_one_line(folder: Path, over: float) -> None:
    floats(folder, over / 255)
    (problem,) = problems_of(folder)
    assert problem.startswith(f"{folder}: largest value {over:g}, but floats must be in 0..1 or")


def test_a_few_files_of_0_to_255_do_not_darken_a_set_of_0_to_1(folder: Path) -> None:
    floats(folder, 1 / 255)
    path = folder / "TRAIN" / "dog" / "0001.npy"
    np.save(path, np.load(path) * 255)
    (problem,) = problems_of(folder)
    assert problem.startswith(f"{path}: largest value 255, but floats must be in 0..1")


def test_images_without_a_value_above_1_in_a_set_of_0_to_255_are_named(folder: Path) -> None:
    floats(folder, 1)
    path = folder / "TRAIN" / "dog" / "0001.npy"
    np.save(path, np.full((16, 17, 1), 1, dtype=np.float32))
    dataset, warnings = read_folder(folder)
    assert dataset.scale == "float 0..255"
    assert dataset.splits["TRAIN"].images[4].max() == np.float32(1 / 255)
    assert warnings[1].startswith("images of a 0..255 set without a value above 1")
    assert [line.endswith(str(path)) for line in warnings] == [False, True, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image[..., 0],
        lambda image: image.transpose(2, 0, 1),
        lambda image: np.asfortranarray(image[..., 0]),
    ],
)
def test_all_three_layouts_read_alike(
    folder: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    plain, _ = read_folder(folder)
    change_all(folder, change)
    assert read_folder(folder)[0].digest == plain.digest


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("scale", [1, 255])
def test_floats_become_float32_in_0_to_1(folder: Path, dtype: str, scale: int) -> None:
    plain, _ = read_folder(folder)
    change_all(folder, lambda image: (image / 255 * scale).astype(dtype))
    dataset, warnings = read_folder(folder)
    for name, split in dataset.splits.items():
        assert split.images.dtype == np.dtype(np.float32)
        assert np.abs(split.images * 255 - plain.splits[name].images).max() < 0.2
    assert [("divided by 255" in line) for line in warnings] == [True] * (scale == 255)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.full((16, 17), np.nan), "NaN or infinite"),
        (np.full((16, 17), np.inf), "NaN or infinite"),
        (np.full((16, 17), -0.5), "values in -0.5..-0.5, but floats must be in 0..1"),
        (np.full((16, 17), 256.0), "values in 256..256, but floats must be in 0..1"),
        (np.zeros((15, 17)), "(15, 17), but height and width must be at least 16"),
        (np.zeros((16, 17, 3)), "shape (16, 17, 3), but must be (H, W)"),
        (np.zeros((0, 16, 17)), "shape (0, 16, 17), but must be (H, W)"),
        (np.zeros((20, 17)), "size (20, 17), but most files have (16, 17)"),
        (np.zeros((16, 17), dtype=np.int64), "holds int64, but must hold uint8"),
        (np.zeros((16, 17), dtype=np.uint8), "dtype uint8, but most files have float64"),
        (np.zeros((16, 17), dtype=complex), "holds complex128, but must hold uint8"),
    ],
)
def test_a_wrong_array_is_named_with_value_and_rule(
    folder: Path, value: np.ndarray, expected: str
) -> None:
    change_all(folder, lambda image: image / 255)
    path = folder / "TEST" / "dog" / "0002.npy"
    np.save(path, value)
    (problem,) = problems_of(folder)
    assert problem.startswith(f"{path}: ")
    assert expected in problem


def test_damaged_files_are_named_together(folder: Path, tmp_path: Path) -> None:
    cat = folder / "TRAIN" / "cat"
    raw = (cat / "0000.npy").read_bytes()
    (cat / "0000.npy").write_bytes(raw[:-1])
    (cat / "0001.npy").write_bytes(b"")
    (cat / "0002.npy").write_bytes(b"\x89PNG and more")
    (cat / "0003.npy").write_bytes(raw[:40])
    (cat / "0004.npy").write_bytes(raw[:6] + b"\x09" + raw[7:])
    (cat / "0005.npy").symlink_to(tmp_path / "nowhere.npy")
    np.save(cat / "0006.npy", np.array([Bomb(tmp_path / "trace")] * 300, dtype=object))
    (cat / "0007.npy").write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    (cat / "0008.npy").write_bytes(raw.replace(b"False", b"F(lse"))
    (cat / "0009.npy").write_bytes(raw.replace(b"|u1", b"<,8"))
    problems = problems_of(folder)
    assert [line.split(":")[0][-8:] for line in problems] == [f"{i:04d}.npy" for i in range(10)]
    assert (
        f"truncated: has {len(raw) - 1} bytes, but its header asks for {len(raw)}" in problems[0]
    )
    assert "zero bytes" in problems[1]
    assert "\\x89PNG" in problems[2]
    assert "No such file" in problems[5]
    assert "Python objects" in problems[6]
    assert "damaged header" in problems[8]
    assert "damaged header" in problems[9]
    assert not (tmp_path / "trace").exists()


def test_layout_problems_are_named_together(folder: Path) -> None:
    for path in (folder / "TEST" / "cat").iterdir():
        path.unlink()
    (folder / "TRAIN" / "emu").mkdir()
    np.save(folder / "TRAIN" / "emu" / "0.npy", np.zeros((16, 17), dtype=np.uint8))
    for path in (folder / "TEST2").rglob("*.npy"):
        path.unlink()
    for path in (folder / "TEST2").iterdir():
        path.rmdir()
    assert problems_of(folder) == [
        f"{folder / 'TEST' / 'cat'}: holds no .npy file; every class must have at least one",
        f"{folder / 'TEST'}: class 'emu' is missing, but is in TRAIN;"
        " every class must be in all splits",
        f"{folder / 'TEST2'}: holds no class folders, but must hold at least one",
    ]
    (folder / "TEST2").rmdir()
    assert "TEST2: missing" in problems_of(folder)[0]
    (folder / "TEST2").touch()
    assert "TEST2: is a file" in problems_of(folder)[0]


def test_a_path_without_a_dataset_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(problems_of(tmp_path / "empty")) == 3
    assert "does not exist" in problems_of(tmp_path / "nowhere")[0]
    assert "is a file" in problems_of(folder / "TRAIN" / "cat" / "0000.npy")[0]


def test_splits_in_different_dtypes_or_ranges_are_refused(folder: Path) -> None:
    change_all(folder, lambda image: (image / 255).astype(np.float32), "TEST")
    assert len(problems_of(folder)) == 7
    assert "TEST/cat/0000.npy: dtype float32, but most files have uint8" in problems_of(folder)[0]
    change_all(folder, lambda image: image.astype(np.float32), "TRAIN")
    change_all(folder, lambda image: image.astype(np.float32), "TEST2")
    (problem,) = problems_of(folder)
    assert problem.startswith(f"{folder / 'TEST'}: largest value ")
    assert "all must be in 0..1, or all in 0..255" in problem


def test_of_many_problems_twenty_are_named_and_the_rest_counted(folder: Path) -> None:
    paths = sorted(folder.rglob("*.npy"))
    for path in paths:
        path.write_bytes(b"")
    *named, last = problems_of(folder)
    assert all("zero bytes" in line for line in named)
    assert (len(named), last) == (20, f"and {len(paths) - 20} more")
    paths[0].write_bytes(b"x")
    for path in paths[20:]:
        path.unlink()
    assert len(problems_of(folder)) == 20
