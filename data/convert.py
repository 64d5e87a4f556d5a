"""Write dataset folders, from PNG and JPEG images or from a dataset in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from shiftsearch.data.dataset import SPLITS, DataError, Dataset, blank_images
from shiftsearch.data.image_file import SUFFIXES, deepest_value, read_image
from shiftsearch.data.npy_image import MIN_SIDE
from shiftsearch.data.os_errors import said
from shiftsearch.data.problems import named
from shiftsearch.data.publishing import save_array, written_beside
from shiftsearch.data.scale import FULL_BITS, Bits, Pixels, bits_of
from shiftsearch.data.scan import IMPORT_RECORD, scan_folder
from shiftsearch.data.weights import WEIGHTS, Weights, write_weights


def import_images(
    source: Path, target: Path, size: tuple[int, int] = (28, 28)
) -> tuple[str, list[str]]:
    """Make a dataset folder from SOURCE/{TRAIN,TEST,TEST2}/<class>/*.{png,jpg,jpeg}.

    Every image is read and checked before anything is written, and `target` appears whole or not
    at all. `read_image` says how an image is converted. `a.png` becomes `a.png.npy`, so that
    `a.jpg` beside it keeps its own name; a split's `weights.csv` is taken along, see
    `data.weights`. 16-bit gray PNG files are all read with the
    number of bits that their largest value needs. `imported.json` records this number, so that a
    model trained on these images reads such files in the same way.

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
        for label, files in sorted(by_class.items())
        for file in files
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        deep, warnings = _depth(list(pool.map(deepest_value, places.values())))
        bits = deep or FULL_BITS

        def read(path: Path) -> Pixels | DataError:
            try:
                return read_image(path, size, bits=bits)
            except DataError as error:
                return error

        results = dict(zip(places, pool.map(read, places.values()), strict=True))
    images = [(name, image) for name, image in results.items() if isinstance(image, np.ndarray)]
    errors = [error for error in results.values() if isinstance(error, DataError)]
    weights, wrong = scan.weights()
    if scan.problems or errors or wrong:
        lines = [line for error in errors for line in error.problems]
        raise DataError([*scan.problems, *lines, *wrong])
    _write_files(target, images, {"bits": deep} if deep else None, weights)
    blank = blank_images(np.stack([image for _, image in images]))
    if len(blank):
        paths = [str(places[images[index][0]]) for index in blank]
        warnings.append(f"blank images (a single value): {len(paths)}: {named(paths)}")
    left_out = scan.warnings[1:] if scan.strays else scan.warnings
    strays = f"; stray entries skipped: {scan.strays}" if scan.strays else ""
    done = (
        f"{target}: {len(images)} images of {size[0]}x{size[1]} pixels in"
        f" {len(scan.classes)} classes{strays}"
    )
    return done, [*left_out, *warnings]


def _depth(found: Sequence[tuple[int | None, bool]]) -> tuple[Bits | None, list[str]]:
    """The significant bits of the set's 16-bit gray files, and lines about its 16-bit files."""
    values = [value for value, _ in found if value is not None]
    coloured = sum(is_coloured for _, is_coloured in found)
    warnings = []
    if values:
        bits = bits_of(max(values))
        if bits < FULL_BITS:
            warnings.append(
                f"16-bit gray PNG files: {len(values)}, with values up to {max(values)}. They were"
                f" read as {bits}-bit images, where {2**bits - 1} is white; `predict` will read"
                " such files in the same way"
            )
    if coloured:
        warnings.append(
            f"PNG files with colour or transparency and 16 bits per channel: {coloured}; the"
            " upper 8 bits were kept"
        )
    return bits_of(max(values)) if values else None, warnings


def write_folder(dataset: Dataset, target: Path) -> None:
    """Write a dataset as a folder: SPLIT/<class>/NNNN.npy of shape (H, W, 1), whole or not at all.

    Weights of images are written as `data.weights` says.

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
    weights = {
        name: split.weights[np.argsort(split.labels, kind="stable")]
        for name, split in dataset.splits.items()
        if split.weights is not None
    }
    _write_files(_empty_target(target), places, None, weights)


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
    target: Path,
    files: Iterable[tuple[str, Pixels]],
    record: dict[str, int] | None,
    weights: Mapping[str, Weights],
) -> None:
    """Write (name without .npy, [H, W] image) as files of shape (H, W, 1), record and weights.

    The weights of a split are in the order of its files.
    """
    written: dict[str, list[str]] = {split: [] for split in SPLITS}
    try:
        with written_beside(target) as beside:
            made: set[Path] = set()
            for name, image in files:
                path = beside / f"{name}.npy"
                if path.parent not in made:
                    path.parent.mkdir(parents=True)
                    made.add(path.parent)
                save_array(path, image[..., np.newaxis])
                split, _, rest = name.partition("/")
                written[split].append(f"{rest}.npy")
            for split, own in weights.items():
                write_weights(
                    beside / split / WEIGHTS, dict(zip(written[split], own.tolist(), strict=True))
                )
            if record is not None:
                text = json.dumps(record) + "\n"
                (beside / IMPORT_RECORD).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError([f"{target}: cannot be written: {said(error)}"]) from error
