"""Import from PNG and JPEG, and writing folders: what becomes of an image, all or nothing."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftsearch.data.convert import import_images, write_folder
from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.fitting import ASPECTS, Aspect, fitted
from shiftsearch.data.image_file import read_image
from shiftsearch.data.image_folder import read_folder
from shiftsearch.data.reading import AS_IT_IS, Reading

pytestmark = pytest.mark.unit
SIZE = (28, 28)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """TRAIN, TEST, TEST2 with classes cat and dog, one random gray PNG of 28x28 each."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for name in ("cat", "dog"):
            folder = tmp_path / "source" / split / name
            folder.mkdir(parents=True)
            pixels = rng.integers(0, 256, SIZE, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "a.png")
    return tmp_path / "source"


def problems_of(source: Path, target: Path, how: Reading = AS_IT_IS) -> list[str]:
    """The problems of an import that leaves nothing behind."""
    before = sorted(target.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        import_images(source, target, how)
    assert sorted(target.parent.rglob("*")) == before
    return list(caught.value.problems)


def test_gray_images_of_the_asked_size_keep_their_pixels(source: Path, tmp_path: Path) -> None:
    (source / "TEST" / "notes.txt").touch()
    line, warnings = import_images(source, tmp_path / "new" / "set")
    assert warnings == []
    assert line.endswith("set: 6 images of 28x28 pixels in 2 classes; stray entries skipped: 1")
    dataset, warnings = read_folder(tmp_path / "new" / "set")
    assert warnings == []
    assert dataset.classes == ("cat", "dog")
    for name, split in dataset.splits.items():
        for label, image in zip(dataset.classes, split.images, strict=True):
            assert np.array_equal(image, np.asarray(Image.open(source / name / label / "a.png")))
    stored = np.load(tmp_path / "new" / "set" / "TRAIN" / "cat" / "a.png.npy")
    assert (stored.shape, stored.dtype) == ((28, 28, 1), np.uint8)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["set"]


def test_names_that_differ_in_suffix_or_case_do_not_collide(source: Path, tmp_path: Path) -> None:
    gray = Image.new("L", (40, 50), 7)
    for name in ("a.jpg", "a.JPEG", "A.PNG", "a.b.png"):
        gray.save(source / "TRAIN" / "cat" / name)
    import_images(source, tmp_path / "set", Reading(size=(16, 20)))
    dataset, _ = read_folder(tmp_path / "set")
    assert dataset.splits["TRAIN"].labels.tolist() == [0, 0, 0, 0, 0, 1]
    assert dataset.image_size == (16, 20)


@pytest.mark.parametrize("highest", [200, 1023, 4095, 16383, 40_000])
def test_deep_gray_files_keep_their_contrast_at_import_and_later(
    source: Path, tmp_path: Path, highest: int
) -> None:
    """16-bit files that hold fewer bits, as scanners write them; their set says how many."""
    rng = np.random.default_rng(0)
    for path in source.rglob("*.png"):
        deep = rng.integers(0, highest + 1, SIZE).astype(np.uint16)
        deep[0, :2] = 0, highest
        Image.fromarray(deep).save(path)
    white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if highest < 2**bits)
    _, warnings = import_images(source, tmp_path / "set")
    said = [f"values up to {highest}" in line for line in warnings]
    assert said == [True] * (white < 65535)
    dataset, warnings = read_folder(tmp_path / "set")
    assert warnings == []
    stored = dataset.splits["TRAIN"].images[0]
    one = source / "TRAIN" / "cat" / "a.png"
    wanted = np.asarray(Image.open(one)).astype(int) * 255 / white
    assert np.abs(stored - wanted).max() <= 0.5
    assert np.array_equal(read_image(one, SIZE, "uint8", dataset.bits).pixels, stored)
    if white < 65535:
        Image.fromarray(np.full(SIZE, white + 1, dtype=np.uint16)).save(one)
        with pytest.raises(DataError, match=rf"a.png: largest value {white + 1}, .* {white}$"):
            read_image(one, SIZE, "uint8", dataset.bits)


def test_the_record_of_an_import_is_checked(source: Path, tmp_path: Path) -> None:
    import_images(source, tmp_path / "set")
    record = tmp_path / "set" / "imported.json"
    assert not record.exists()  # of a source without deep files
    for text in ('{"bits": 11}', "{}", "[1]", "{", '{"bits": [12]}'):
        record.write_text(text)
        with pytest.raises(DataError, match=r"imported\.json: ") as caught:
            read_folder(tmp_path / "set")
        assert len(caught.value.problems) == 1


def test_colour_files_of_16_bits_are_told(source: Path, tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes([15, 255] * 3 * 20) for _ in range(20))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    raw = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    (source / "TEST" / "cat" / "deep.png").write_bytes(raw)
    _, warnings = import_images(source, tmp_path / "set", Reading(size=SIZE))
    assert [line[:14] for line in warnings] == [
        "files with col",
        "images of anot",
        "blank images (",
    ]


def test_blank_and_misplaced_images_are_named_by_an_import(source: Path, tmp_path: Path) -> None:
    Image.new("L", SIZE, 7).save(source / "TEST" / "dog" / "blank.png")
    (source / "TRAIN" / "dog" / "monday").mkdir()
    Image.new("L", SIZE, 7).save(source / "TRAIN" / "dog" / "monday" / "b.png")
    line, (left_out, blank) = import_images(source, tmp_path / "set")
    assert "7 images of 28x28 pixels in 2 classes" in line
    assert "TRAIN/dog/monday (1)" in left_out
    assert blank.startswith("blank images (a single value): 1: ")
    assert blank.endswith(str(source / "TEST" / "dog" / "blank.png"))


def test_bad_files_are_named_together_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    cat = source / "TEST" / "cat"
    whole = (cat / "a.png").read_bytes()
    (cat / "a.png").write_bytes(whole[: len(whole) // 2])
    (cat / "b.png").write_bytes(b"")
    (cat / "c.jpg").write_bytes(b"no picture")
    Image.new("L", (20, 20)).save(cat / "d.gif")
    (cat / "d.gif").rename(cat / "d.png")
    (source / "TEST2" / "dog" / "a.png").unlink()
    problems = problems_of(source, tmp_path / "set")
    assert [line.split(":")[0] for line in problems] == [
        str(source / "TEST2" / "dog"),
        *(str(cat / name) for name in ("a.png", "b.png", "c.jpg", "d.png")),
    ]
    for index in range(30):
        (cat / f"{index}.jpg").touch()
    assert len(problems := problems_of(source, tmp_path / "set")) == 21
    assert problems[-1] == "and 15 more"


def test_a_target_in_use_is_refused(source: Path, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in problems_of(source, tmp_path / "file")[0]
    assert "holds 'T" in problems_of(source, folder)[0]
    assert "cannot be written" in problems_of(source, tmp_path / "file" / "set")[0]
    with pytest.raises(DataError, match="must be new or empty"):
        write_folder(read_folder(folder)[0], folder)


def test_a_written_folder_reads_back_as_the_same_dataset(folder: Path, tmp_path: Path) -> None:
    dataset, _ = read_folder(folder)
    (tmp_path / "copy").mkdir()
    write_folder(dataset, tmp_path / "copy")
    assert read_folder(tmp_path / "copy")[0].digest == dataset.digest
    stored = np.load(tmp_path / "copy" / "TEST2" / "dog" / "0003.npy")
    assert (stored.shape, stored.dtype) == ((16, 17, 1), np.uint8)


def test_an_interrupted_write_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = read_folder(folder)
    monkeypatch.setattr(np, "save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_folder(dataset, tmp_path / "new" / "copy")
    assert list((tmp_path / "new").iterdir()) == []


def test_images_keep_the_size_that_all_have(source: Path, tmp_path: Path) -> None:
    for path in source.rglob("*.png"):
        Image.fromarray(np.arange(40 * 50, dtype=np.uint8).reshape(40, 50)).save(path)
    line, warnings = import_images(source, tmp_path / "set")
    assert "6 images of 40x50 pixels" in line
    assert warnings == []
    assert read_folder(tmp_path / "set")[0].image_size == (40, 50)


def test_sizes_that_differ_or_are_small_ask_for_one(source: Path, tmp_path: Path) -> None:
    turned = Image.new("L", (28, 30))
    turned.getexif()[274] = 6
    turned.save(source / "TEST" / "cat" / "a.png", exif=turned.getexif())
    (line,) = problems_of(source, tmp_path / "set")
    assert line.startswith(f"{source}: images of 2 sizes: 28x28 (5), 28x30 (1); ")
    for path in source.rglob("*.png"):
        Image.new("L", (15, 28)).save(path)
    (line,) = problems_of(source, tmp_path / "set")
    assert line.startswith(f"{source}: images of 28x15, but height and width must be at least 16")


@pytest.mark.parametrize("aspect", ASPECTS)
def test_what_happens_to_another_aspect_is_said_and_recorded(
    source: Path, tmp_path: Path, aspect: Aspect
) -> None:
    wide = np.random.default_rng(0).integers(256, size=(28, 56), dtype=np.uint8)
    Image.fromarray(wide).save(source / "TEST" / "cat" / "a.png")
    how = Reading(size=SIZE, aspect=aspect)
    _, (line,) = import_images(source, tmp_path / "set", how)
    assert f"1 of 6: {source / 'TEST' / 'cat' / 'a.png'}; of another aspect ratio: 1," in line
    dataset, _ = read_folder(tmp_path / "set")
    assert dataset.aspect == aspect
    assert np.array_equal(dataset.splits["TEST"].images[0], fitted(wide, SIZE, aspect))
    assert (tmp_path / "set" / "imported.json").exists() == (aspect != "pad")


def test_splits_of_other_names_are_imported(source: Path, tmp_path: Path) -> None:
    plain, _ = import_images(source, tmp_path / "plain")
    for old, new in zip(SPLITS, ("day", "dusk", "night"), strict=True):
        (source / old).rename(source / new)
    line, _ = import_images(source, tmp_path / "set", Reading("day", "dusk", "night"))
    assert line.partition(": ")[2] == plain.partition(": ")[2]
    digests = [read_folder(tmp_path / name)[0].digest for name in ("plain", "set")]
    assert digests[0] == digests[1]
