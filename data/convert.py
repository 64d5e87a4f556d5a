"""Write dataset folders, from PNG and JPEG images or from a dataset in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from shiftsearch.data.dataset import SPLITS, DataError, Dataset, blank_images
from shiftsearch.data.machine import is_machine
from shiftsearch.data.npy_image import MIN_SIDE, read_file
from shiftsearch.data.problems import named
from shiftsearch.data.publishing import written_beside
from shiftsearch.data.scale import (
    FULL_BITS,
    Bits,
    Pixels,
    Scale,
    bits_of,
    misfit,
    scale_of,
    to_unit,
)
from shiftsearch.data.scan import IMPORT_RECORD, scan_folder

SUFFIXES = (".png", ".jpg", ".jpeg")


def import_images(
    source: Path, target: Path, size: tuple[int, int] = (28, 28)
) -> tuple[str, list[str]]:
    """Make a dataset folder from SOURCE/{TRAIN,TEST,TEST2}/<class>/*.{png,jpg,jpeg}.

    Every image is read and checked before anything is written, and `target` appears whole or not
    at all. See `read_image` for what becomes of an image; `a.png` becomes `a.png.npy`, so that
    `a.jpg` beside it keeps a name of its own. Gray PNG files of 16 bits are all read with the
    number of bits that their largest value needs, which is noted in `imported.json`, so that a
    model of these images reads such files alike.

    Args:
        source: the folder of images.
        target: the dataset folder to make; may exist if it is empty.
        size: height and width of the result, pixels, at least 16 each.

    Returns:
        One line that says what was written, and a line for each thing the user should know.

    Raises:
        DataError: with a line for each problem of `source`, `target` or `size`.
    """
    if min(size) < MIN_SIDE:
        raise DataError([f"size {size}, but height and width must be at least {MIN_SIDE}"])
    target = _empty_target(target)
    scan = scan_folder(source, SUFFIXES)
    places = {
        f"{split}/{label}/{Path(file).name}": source / file
        for split, by_class in scan.files.items()
        for label, files in by_class.items()
        for file in files
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        deep, warnings = _depth(list(pool.map(_deepest, places.values())))
        bits = deep or FULL_BITS

        def read(path: Path) -> Pixels | DataError:
            try:
                return read_image(path, size, bits=bits)
            except DataError as error:
                return error

        results = dict(zip(places, pool.map(read, places.values()), strict=True))
    images = [(name, image) for name, image in results.items() if isinstance(image, np.ndarray)]
    errors = [error for error in results.values() if isinstance(error, DataError)]
    if scan.problems or errors:
        raise DataError([*scan.problems, *(line for error in errors for line in error.problems)])
    _write_files(target, images, record={"bits": deep} if deep else None)
    blank = blank_images(np.stack([image for _, image in images]))
    if len(blank):
        paths = [str(places[images[index][0]]) for index in blank]
        warnings.append(f"{len(paths)} images are blank, one value all over: {named(paths)}")
    left_out = scan.warnings[1:] if scan.strays else scan.warnings
    strays = f"; skipped {scan.strays} stray entries" if scan.strays else ""
    done = (
        f"{target}: {len(images)} images of {size[0]}x{size[1]} pixels in"
        f" {len(scan.classes)} classes{strays}"
    )
    return done, [*left_out, *warnings]


def _deepest(path: Path) -> tuple[int | None, bool]:
    """The largest value of a gray PNG file of 16 bits, else None; and if it is a coloured one."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
        # PNG: signature, length and name of IHDR, width, height, bits at 24, kind of colour at 25.
        if header[12:16] != b"IHDR" or header[24] != 16:
            return None, False
        with Image.open(path, formats=("PNG",)) as image:
            if not image.mode.startswith("I"):
                return None, True
            return int(np.asarray(image).max()), False
    except Exception:  # `read_image` will say what is wrong
        return None, False


def _depth(found: Sequence[tuple[int | None, bool]]) -> tuple[Bits | None, list[str]]:
    """The significant bits of a set's deep gray files, if it has any, and what to say of them."""
    values = [value for value, _ in found if value is not None]
    coloured = sum(is_coloured for _, is_coloured in found)
    warnings = []
    if values:
        bits = bits_of(max(values))
        if bits < FULL_BITS:
            warnings.append(
                f"{len(values)} gray PNG files of 16 bits hold values up to {max(values)}: they"
                f" were read as {bits}-bit images, where {2**bits - 1} is white, and so will"
                " `predict` read them"
            )
    if coloured:
        warnings.append(
            f"{coloured} PNG files have colour or transparency with 16 bits a channel, of which"
            " the upper 8 were kept"
        )
    return bits_of(max(values)) if values else None, warnings


def write_folder(dataset: Dataset, target: Path) -> None:
    """Write a dataset as a folder: SPLIT/<class>/NNNN.npy of shape (H, W, 1), whole or not at all.

    Args:
        dataset: what to write, in its own dtype.
        target: the dataset folder to make; may exist if it is empty.

    Raises:
        DataError: `target` is a file or a folder that is not empty, or cannot be written.
    """
    places = []
    for name in SPLITS:
        split = dataset.splits[name]
        for label, class_name in enumerate(dataset.classes):
            members = np.flatnonzero(split.labels == label)
            digits = max(4, len(str(len(members) - 1)))
            places += [
                (f"{name}/{class_name}/{number:0{digits}d}", split.images[index])
                for number, index in enumerate(members)
            ]
    _write_files(_empty_target(target), places, record=None)


def _empty_target(target: Path) -> Path:
    """The absolute path of `target`.

    Raises:
        DataError: it is a file or a folder that is not empty.
    """
    target = target.resolve()
    if target.exists() and not target.is_dir():
        raise DataError([f"{target}: is a file, but must be a new or an empty folder"])
    if target.is_dir() and (first := next(target.iterdir(), None)):
        raise DataError([f"{target}: holds {first.name!r}, but must be new or empty"])
    return target


def _write_files(
    target: Path, files: Iterable[tuple[str, Pixels]], record: dict[str, int] | None
) -> None:
    """Write (name without .npy, [H, W] image) as files of shape (H, W, 1), and the record."""
    try:
        with written_beside(target) as beside:
            made: set[Path] = set()
            for name, image in files:
                path = beside / f"{name}.npy"
                if path.parent not in made:
                    path.parent.mkdir(parents=True)
                    made.add(path.parent)
                np.save(path, image[..., np.newaxis])
            if record is not None:
                text = json.dumps(record) + "\n"
                (beside / IMPORT_RECORD).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError([f"{target}: cannot be written: {error.strerror}"]) from error


def read_image(
    path: Path, size: tuple[int, int], scale: Scale | None = None, bits: int = FULL_BITS
) -> Pixels:
    """Read a single image file as a network takes it.

    A .npy file must have the asked size, and values on the asked scale. PNG and JPEG images are
    turned as their EXIF data says, laid over black where transparent, made grayscale (ITU-R 601
    luma; 16-bit gray is scaled to 8 bits) and resized with a bilinear filter as wide as the
    reduction, without keeping the proportions.

    Args:
        path: a .npy, .png, .jpg or .jpeg file, in any case.
        size: height and width of the result, pixels.
        scale: of the images that the network was trained on. None where that is not known: a
            .npy file of floats is then divided by 255 if it holds a value above 1.
        bits: significant bits of gray PNG files of 16 bits, so that 2^bits - 1 is white.

    Returns:
        [H, W] uint8 in 0..255 or float32 in 0..1.

    Raises:
        DataError: the file holds no such image.
    """
    if path.suffix.lower() not in SUFFIXES:
        return _read_npy(path, size, scale)
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            gray = _to_gray(ImageOps.exif_transpose(file), bits)
    except UnidentifiedImageError as error:
        raise DataError([f"{path}: is no image, but must be PNG or JPEG"]) from error
    except DataError as error:
        raise DataError([f"{path}: {error}"]) from None
    except Exception as error:  # Pillow lets struct.error, zlib.error and others of its parts out
        if isinstance(error, OSError) and is_machine(error):
            error.filename = str(path)
            raise
        raise DataError([f"{path}: cannot be read as PNG or JPEG: {error}"]) from error
    return np.array(gray.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _read_npy(path: Path, size: tuple[int, int], scale: Scale | None) -> Pixels:
    image = read_file(str(path))
    if isinstance(image, str):
        raise DataError([image])
    if image.pixels.shape != size:
        raise DataError([f"{path}: size {image.pixels.shape}, but must be {size}"])
    if scale is None:
        scale = scale_of([image.highest])
    if wrong := misfit(scale, image.dtype, image.highest):
        raise DataError([f"{path}: {wrong}, as the images that the model was trained on"])
    return to_unit(image.pixels, scale)


def _to_gray(image: Image.Image, bits: int) -> Image.Image:
    """8-bit grayscale of an image in any mode that PNG and JPEG have.

    Raises:
        DataError: a 16-bit image has a value of more than `bits` bits.
    """
    if image.mode.startswith("I"):
        deep, white = np.asarray(image).astype(np.uint32), 2**bits - 1
        if deep.max() > white:
            raise DataError(
                [f"largest value {deep.max()}, but the model's 16-bit images go up to {white}"]
            )
        return Image.fromarray(((deep * 255 + white // 2) // white).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image if image.mode == "L" else image.convert("RGB").convert("L")
