"""Write dataset folders, from PNG and JPEG images or from a dataset in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.dataset import SPLITS, DataError, Dataset
from data.folder import scan_folder
from data.npy_image import MIN_SIDE, Pixels, read_file
from data.publishing import written_beside

SUFFIXES = (".png", ".jpg", ".jpeg")


def import_images(source: Path, target: Path, size: tuple[int, int] = (28, 28)) -> str:
    """Make a dataset folder from SOURCE/{TRAIN,TEST,TEST2}/<class>/*.{png,jpg,jpeg}.

    Every image is read and checked before anything is written, and `target` appears whole or not
    at all. See `read_image` for what becomes of an image; `a.png` becomes `a.png.npy`, so that
    `a.jpg` beside it keeps a name of its own.

    Args:
        source: the folder of images.
        target: the dataset folder to make; may exist if it is empty.
        size: height and width of the result, pixels, at least 16 each.

    Returns:
        One line that says what was written.

    Raises:
        DataError: with a line for each problem of `source`, `target` or `size`.
    """
    if min(size) < MIN_SIDE:
        raise DataError([f"size {size}, but height and width must be at least {MIN_SIDE}"])
    target = _empty_target(target)
    scan = scan_folder(source, SUFFIXES)
    names = [
        f"{split}/{label}/{file}"
        for split, by_class in scan.files.items()
        for label, files in by_class.items()
        for file in files
    ]

    def read(name: str) -> Pixels | DataError:
        try:
            return read_image(source / name, size)
        except DataError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = dict(zip(names, pool.map(read, names), strict=True))
    images = [(name, image) for name, image in results.items() if isinstance(image, np.ndarray)]
    errors = [error for error in results.values() if isinstance(error, DataError)]
    if scan.problems or errors:
        raise DataError([*scan.problems, *(line for error in errors for line in error.problems)])
    _write_files(target, images)
    strays = f"; skipped {scan.strays} stray entries" if scan.strays else ""
    return (
        f"{target}: {len(names)} images of {size[0]}x{size[1]} pixels in"
        f" {len(scan.classes)} classes{strays}"
    )


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
    _write_files(_empty_target(target), places)


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


def _write_files(target: Path, files: Iterable[tuple[str, Pixels]]) -> None:
    """Write (name without .npy, [H, W] image) as files of shape (H, W, 1)."""
    try:
        with written_beside(target) as beside:
            made: set[Path] = set()
            for name, image in files:
                path = beside / f"{name}.npy"
                if path.parent not in made:
                    path.parent.mkdir(parents=True)
                    made.add(path.parent)
                np.save(path, image[..., np.newaxis])
    except OSError as error:
        raise DataError([f"{target}: cannot be written: {error.strerror}"]) from error


def read_image(path: Path, size: tuple[int, int]) -> Pixels:
    """Read a single image file as a network takes it.

    A .npy file must have the asked size; floats up to 255 are divided by 255 where they exceed 1.
    PNG and JPEG images are turned as their EXIF data says, laid over black where transparent,
    made grayscale (ITU-R 601 luma; 16-bit gray is scaled to 8 bits) and resized with a bilinear
    filter as wide as the reduction, without keeping the proportions.

    Args:
        path: a .npy, .png, .jpg or .jpeg file, in any case.
        size: height and width of the result, pixels.

    Returns:
        [H, W] uint8 in 0..255 or float32 in 0..1.

    Raises:
        DataError: the file holds no such image.
    """
    if path.suffix.lower() not in SUFFIXES:
        return _read_npy(path, size)
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            gray = _to_gray(ImageOps.exif_transpose(file))
    except UnidentifiedImageError as error:
        raise DataError([f"{path}: is no image, but must be PNG or JPEG"]) from error
    except Exception as error:  # Pillow lets struct.error, zlib.error and others of its parts out
        raise DataError([f"{path}: cannot be read as PNG or JPEG: {error}"]) from error
    return np.array(gray.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _read_npy(path: Path, size: tuple[int, int]) -> Pixels:
    image = read_file(str(path))
    if isinstance(image, str):
        raise DataError([image])
    if image.pixels.shape != size:
        raise DataError([f"{path}: size {image.pixels.shape}, but must be {size}"])
    if image.highest > 1:
        return (image.pixels / np.float32(255)).astype(np.float32)
    return image.pixels


def _to_gray(image: Image.Image) -> Image.Image:
    """8-bit grayscale of an image in any mode that PNG and JPEG have."""
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image if image.mode == "L" else image.convert("RGB").convert("L")
