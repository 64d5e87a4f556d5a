"""Import from IDX, NPZ and CSV: the same images and classes, or a line for each fault."""

from __future__ import annotations

import csv
import gzip
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shiftsearch.data.convert import import_images
from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.image_folder import read_folder
from shiftsearch.data.reading import Reading

pytestmark = pytest.mark.unit

Stacks = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def stacks() -> Stacks:
    """Images [12, 28, 28] uint8 and labels 0 to 2 for each split."""
    rng = np.random.default_rng(0)
    return {
        split: (rng.integers(256, size=(12, 28, 28), dtype=np.uint8), rng.permutation(12) % 3)
        for split in SPLITS
    }


def idx(array: np.ndarray, code: int = 8) -> bytes:
    kind = {8: ">u1", 11: ">i2", 12: ">i4", 13: ">f4"}[code]
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(kind).tobytes()


def write_idx(folder: Path, stacks: Stacks, *, zipped: bool = True) -> Path:
    folder.mkdir()
    pack, end = (gzip.compress, ".gz") if zipped else (bytes, "")
    for split, (images, labels) in stacks.items():
        name = split.lower()
        (folder / f"{name}-images-idx3-ubyte{end}").write_bytes(pack(idx(images)))
        (folder / f"{name}-labels-idx1-ubyte{end}").write_bytes(pack(idx(labels)))
    (folder / "readme.txt").touch()
    return folder


def write_idx_plain(folder: Path, stacks: Stacks) -> Path:
    return write_idx(folder, stacks, zipped=False)


def flat(stacks: Stacks) -> dict[str, np.ndarray]:
    return {
        f"{split}_{what}": array
        for split, pair in stacks.items()
        for what, array in zip(("images", "labels"), pair, strict=True)
    }


def write_npz(path: Path, stacks: Stacks) -> Path:
    np.savez_compressed(path.with_suffix(".npz"), **flat(stacks), notes=np.zeros(3))
    return path.with_suffix(".npz")


def write_npz_folder(folder: Path, stacks: Stacks) -> Path:
    folder.mkdir()
    for split, (images, labels) in stacks.items():
        np.savez(folder / f"{split}.npz", images=images[..., None], labels=labels)
    return folder


def write_pictures(folder: Path, stacks: Stacks) -> list[tuple[str, int, str]]:
    """PNG files in a folder `p`, and their rows of path, label and split."""
    (folder / "p").mkdir(parents=True)
    rows = []
    for split, (images, labels) in stacks.items():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = f"p/{split} {number}.png"
            Image.fromarray(image).save(folder / path)
            rows.append((path, int(label), split))
    return rows


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_csv(folder: Path, stacks: Stacks) -> Path:
    rows = write_pictures(folder, stacks)
    write_rows(
        folder / "all.csv", ("split", "label", "path"), [(s, label, p) for p, label, s in rows]
    )
    return folder / "all.csv"


def write_csv_folder(folder: Path, stacks: Stacks) -> Path:
    rows = write_pictures(folder, stacks)
    for split in SPLITS:
        write_rows(
            folder / f"{split}.csv",
            ("path", "label"),
            [row[:2] for row in rows if row[2] == split],
        )
    return folder


WRITERS = [
    write_idx,
    write_idx_plain,
    write_npz,
    write_npz_folder,
    write_csv,
    write_csv_folder,
]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("classes", [(), ("zebra", "ant", "cow")])
def test_every_source_gives_its_images_and_classes(
    stacks: Stacks, tmp_path: Path, write: Callable[..., Path], classes: Sequence[str]
) -> None:
    source = write(tmp_path / "source", stacks)
    line, warnings = import_images(source, tmp_path / "set", classes=classes)
    assert "36 images of 28x28 pixels in 3 classes" in line
    assert warnings == []
    dataset, warnings = read_folder(tmp_path / "set")
    assert warnings == []
    assert dataset.classes == tuple(sorted(classes or "012"))
    for split, (images, labels) in stacks.items():
        for position, name in enumerate(classes or "012"):
            found = dataset.splits[split].images[
                dataset.splits[split].labels == dataset.classes.index(name)
            ]
            assert np.array_equal(found, images[labels == position])


def test_numbers_of_two_digits_keep_their_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(24, 16, 16), dtype=np.uint8)
    stacks = {split: (images, np.arange(24) % 12) for split in SPLITS}
    import_images(write_npz(tmp_path / "source", stacks), tmp_path / "set")
    assert read_folder(tmp_path / "set")[0].classes == tuple(f"{n:02d}" for n in range(12))


def test_labels_may_be_text(stacks: Stacks, tmp_path: Path) -> None:
    named = {s: (i, np.array(["cat", "dog", "é"])[n]) for s, (i, n) in stacks.items()}
    import_images(write_npz(tmp_path / "source", named), tmp_path / "set")
    assert read_folder(tmp_path / "set")[0].classes == ("cat", "dog", "é")


@pytest.mark.parametrize("white", [1, 255])
def test_floats_become_floats_in_0_to_1(stacks: Stacks, tmp_path: Path, white: int) -> None:
    floats = {s: (i.astype(np.float64) / 255 * white, n) for s, (i, n) in stacks.items()}
    _, warnings = import_images(write_npz(tmp_path / "source", floats), tmp_path / "set")
    assert len(warnings) == (white == 255)
    dataset, warnings = read_folder(tmp_path / "set")
    assert (warnings, dataset.scale) == ([], "float 0..1")
    images, labels = stacks["TEST2"]
    found = dataset.splits["TEST2"]
    assert np.allclose(found.images[found.labels == 1], images[labels == 1] / 255, atol=1e-6)


def test_another_size_is_resized_and_told(stacks: Stacks, tmp_path: Path) -> None:
    source = write_idx(tmp_path / "source", stacks)
    how = Reading(size=(20, 16), aspect="stretch")
    _, (warning,) = import_images(source, tmp_path / "set", how)
    assert "resized to 20x16: 36 of 36: TRAIN/" in warning
    assert "of another aspect ratio: 36, which were distorted" in warning
    dataset, _ = read_folder(tmp_path / "set")
    images, labels = stacks["TRAIN"]
    small = Image.fromarray(images[labels == 0][0]).resize((16, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(dataset.splits["TRAIN"].images[0], np.asarray(small))


def refused(source: Path, classes: Sequence[str] = ()) -> list[str]:
    """The problems of an import that leaves nothing behind."""
    target = source.parent / "set"
    with pytest.raises(DataError) as caught:
        import_images(source, target, classes=classes)
    assert not target.exists()
    return list(caught.value.problems)


def test_labels_and_images_that_do_not_fit_are_refused(stacks: Stacks, tmp_path: Path) -> None:
    images, labels = stacks["TEST"]
    for number, (changed, rule) in enumerate(
        [
            ((images, labels[:-1]), "TEST: 12 images, but 11 labels"),
            ((images, labels / 2), "TEST: labels of shape (12,) and type float64"),
            ((images, labels[:, None]), "TEST: labels of shape (12, 1)"),
            ((images, labels - 1), "TEST: label -1, but numbers must be at least 0"),
            ((images, labels * 0), "class '1' has no image in TEST"),
            ((images.astype(np.uint16), labels), "TEST: images of uint16, but must be uint8"),
            ((images[0], labels), "TEST: images of shape (28, 28)"),
            ((images.reshape(12, 14, 28, 2), labels), "TEST: images of shape (12, 14, 28, 2)"),
            ((images / 255, labels), "TEST: images of float64, but of uint8 in another split"),
        ]
    ):
        source = write_npz(tmp_path / f"{number}", stacks | {"TEST": changed})
        problems = refused(source)
        assert any(rule in line for line in problems), problems
        assert all(line.startswith(f"{source}: ") for line in problems)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda x: np.where(x > 0.9, np.nan, x), "NaN or infinite"),
        (lambda x: x - 1, "values in -1.."),
        (lambda x: x * 300, "values in 0..300"),
        (lambda x: x * 5, "largest value 5, but 5 in another split"),
    ],
)
def test_floats_out_of_range_are_refused(
    stacks: Stacks, tmp_path: Path, change: Callable[..., np.ndarray], rule: str
) -> None:
    floats = {s: (change(i / 255), n) for s, (i, n) in stacks.items()}
    problems = refused(write_npz(tmp_path / "source", floats))
    assert len(problems) == 3
    assert all(rule in line for line in problems)


def test_class_names_that_do_not_fit_are_refused(stacks: Stacks, tmp_path: Path) -> None:
    source = write_npz(tmp_path / "source", stacks)
    one, *_ = refused(source, ("a", "b"))
    assert one.startswith(f"{source}: TRAIN: label 2, but --classes names 2 classes")
    for names in (("a", "b", "../x"), ("a", "b", ""), ("a", "b", ".c"), ("a", "b", "a")):
        assert any(line.startswith("--classes: ") for line in refused(source, names))
    (tmp_path / "hostile").mkdir()
    for number, name in enumerate(("../../x", "/tmp/x", "", "a\nb", ".", "x" * 300)):
        labels = {s: (i, np.array(["a", "b", name])[n]) for s, (i, n) in stacks.items()}
        problems = refused(write_npz(tmp_path / "hostile" / str(number), labels))
        assert len(problems) == 3
        assert all("a class name must be printable text" in line for line in problems)
    (tmp_path / "pictures" / "TRAIN" / "a").mkdir(parents=True)
    assert refused(tmp_path / "pictures", ("a", "b"))[0].startswith("--classes: ")


def test_splits_that_are_missing_or_doubled_are_named(stacks: Stacks, tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx", stacks)
    (folder / "test2-labels-idx1-ubyte.gz").rename(folder / "test2-labels")
    (folder / "TEST2-labels.copy").write_bytes((folder / "test2-labels").read_bytes())
    (problem,) = refused(folder)
    assert problem.startswith(f"{folder}: TEST2-labels*: found TEST2-labels.copy, test2-labels")
    (folder / "train-images-idx3-ubyte.gz").unlink()
    assert refused(folder)[0].startswith(f"{folder}: TRAIN-images*: found none")
    folder = write_npz_folder(tmp_path / "npz", stacks)
    (folder / "TEST.npz").unlink()
    assert refused(folder) == [f"{folder}: TEST.npz: found none, but there must be one"]
    source = write_npz(tmp_path / "some", {"TRAIN": stacks["TRAIN"], "TEST": stacks["TEST"]})
    assert [line.split("; ")[0] for line in refused(source)] == [
        f"{source}: has no array 'TEST2_{what}'" for what in ("images", "labels")
    ]
    (tmp_path / "file.txt").touch()
    assert "is a file, but must be a folder" in refused(tmp_path / "file.txt")[0]


def test_rows_of_a_csv_are_refused_one_by_one(stacks: Stacks, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "source", stacks)
    good = source.read_text()
    (tmp_path / "source" / "folder.png").mkdir()
    bad = ["TEST3,1,p/TEST 1.png", "TEST,../1,p/TEST 1.png", "TEST,1,p/a.exe", "TEST,1,folder.png"]
    source.write_text(good + "\n".join(bad))
    problems = refused(source)
    assert sorted(line.split(": ")[0] for line in problems) == [
        f"{source}, line {number}" for number in (38, 39, 40, 41)
    ]
    source.write_text(good + "TEST,1,p/absent.png\nTEST2,1,all.png\n")
    assert [line.split(": ")[0] for line in refused(source)] == [
        str(tmp_path / "source" / name) for name in ("p/absent.png", "all.png")
    ]
    source.write_text(good.replace("label", "lable", 1))
    assert "has no column label" in refused(source)[0]
    source.write_bytes(b"split,label,path\n\xff\xfe")
    assert "cannot be read as CSV in UTF-8" in refused(source)[0]
    source.write_text('split,label,path\n"' + "x" * 200_000)
    assert "cannot be read as CSV in UTF-8" in refused(source)[0]


def test_idx_files_that_lie_are_refused(stacks: Stacks, tmp_path: Path) -> None:
    whole = idx(stacks["TEST"][0])
    folder = write_idx(tmp_path / "source", stacks, zipped=False)
    path = folder / "test-images-idx3-ubyte"
    for content, rule in [
        (b"", "starts with b''"),
        (b"\x89PNG" + whole, "starts with "),
        (whole[:10], "is truncated in its header"),
        (whole[:-1], "holds 9407 bytes, but shape (12, 28, 28) of uint8 has 9408"),
        (whole + b"x", "holds more bytes"),
        (whole[:4] + b"\x7f" + whole[5:], "declares "),
        (gzip.compress(whole)[:-9], "cannot be read as an IDX file"),
        (gzip.compress(whole)[:9], "cannot be read as an IDX file"),
        (idx(stacks["TEST"][0], 13), "images of float32"),
    ]:
        path.write_bytes(content)
        (problem, *_) = refused(folder)
        assert rule in problem, problem
        assert path.name in problem or rule.startswith("images")


def test_archives_that_lie_are_refused(stacks: Stacks, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    objects = np.empty(12, dtype=object)
    objects[:] = Hostile()
    source = write_npz(tmp_path / "source", stacks)
    np.savez(source, **flat(stacks | {"TEST": (stacks["TEST"][0], objects)}), allow_pickle=True)
    (problem,) = refused(source)
    assert problem == f"{source}: TEST_labels: holds Python objects, which are never loaded"
    assert not (tmp_path / "ran").exists()
    assert pickle.dumps(objects)  # it would have been made

    header = bytearray(zipfile.ZipFile(source).read("TRAIN_images.npy")[:128])
    for shape, rule in ((b"(9**9, 28, 28)", "damaged"), (b"(99999999, 28)", "declares ")):
        start = header.index(b"(")
        changed = header[:start] + shape + header[start + len(shape) :]
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("TRAIN_images.npy", bytes(changed) + bytes(10**6))
        assert any(f"TRAIN_images: {rule}" in x or rule in x for x in refused(source))
    with zipfile.ZipFile(source, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("TRAIN_images.npy", b"x")
    assert "compression 14" in refused(source)[0]
    source.write_bytes(b"PK\x03\x04" + bytes(50))
    assert "cannot be read as an .npz file" in refused(source)[0]
