"""Write dataset folders, from pictures and arrays of any source or from a dataset in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from shiftsearch.data.dataset import SPLITS, DataError, Dataset, blank_images
from shiftsearch.data.image_file import Decoded, deepest_value, read_image, resized
from shiftsearch.data.import_sources import find_images
from shiftsearch.data.npy_image import MIN_SIDE
from shiftsearch.data.os_errors import said
from shiftsearch.data.problems import named
from shiftsearch.data.publishing import save_array, written_beside
from shiftsearch.data.scale import FULL_BITS, Bits, Pixels, bits_of
from shiftsearch.data.scan import IMPORT_RECORD
from shiftsearch.data.weights import WEIGHTS, Weights, write_weights


def import_images(
    source: Path,
    target: Path,
    size: tuple[int, int] = (28, 28),
    classes: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """Make a dataset folder from pictures or arrays; `find_images` says what a source may be.

    Every image is read and checked before anything is written, and `target` appears whole or not
    at all. `read_image` says how an image is converted. `a.png` becomes `a.png.npy`, so that
    `a.jpg` beside it keeps its own name; images of arrays and of a CSV are numbered in their order
    in the split. A split's `weights.csv` in a folder of pictures is taken along, see
    `data.weights`. 16-bit gray files are all read with the number of bits that their largest value
    needs. `imported.json` records this number, so that a model trained on these images reads such
    files in the same way.

    Args:
        source: what holds the images.
        target: the dataset folder to make; may exist if it is empty.
        size: height and width of the result, pixels, at least 16 each.
        classes: names of the classes, of which labels are positions, counted from 0.

    Returns:
        One line that says what was written, and a line for each thing the user should know.

    Raises:
        DataError: with a line for each problem of `source`, `target`, `size` or `classes`.
    """
    if min(size) < MIN_SIDE:
        raise DataError([f"size {size}, but height and width must be at least {MIN_SIDE}"])
    target = _empty_target(target)
    found = find_images(source, classes)
    problems = found.problems or _unequal(source, found.images)
    pictures = {place: path for place, path in found.images.items() if isinstance(path, Path)}
    images, bits, faults, warnings = _read_pictures(pictures, size)
    if problems or faults:
        raise DataError([*problems, *faults])
    arrays = {place: a for place, a in found.images.items() if not isinstance(a, Path)}
    images |= {place: resized(array, size) for place, array in arrays.items()}
    if odd := sum(array.shape != size for array in arrays.values()):
        warnings.append(f"images of another size than {size[0]}x{size[1]}, resized to it: {odd}")
    _write_files(target, images.items(), {"bits": bits} if bits else None, found.weights)
    blank = blank_images(np.stack(list(images.values())))
    if len(blank):
        places = list(images)
        paths = [str(pictures.get(places[index], places[index])) for index in blank]
        warnings.append(f"blank images (a single value): {len(paths)}: {named(paths)}")
    strays = f"; stray entries skipped: {found.strays}" if found.strays else ""
    done = (
        f"{target}: {len(images)} images of {size[0]}x{size[1]} pixels in"
        f" {len(found.classes)} classes{strays}"
    )
    return done, [*found.warnings, *warnings]


def _unequal(source: Path, places: Iterable[str]) -> list[str]:
    """A line for each class that a split lacks, or if there is one class only."""
    held: dict[str, set[str]] = {split: set() for split in SPLITS}
    for place in places:
        split, name, _ = place.split("/")
        held[split].add(name)
    classes = sorted(set().union(*held.values()))
    lines = [
        f"{source}: class {name!r} has no image in {split}; every class must be in all splits"
        for split in SPLITS
        for name in classes
        if name not in held[split]
    ]
    if len(classes) < 2 and not lines:
        lines.append(f"{source}: holds {len(classes)} classes, but there must be at least two")
    return lines


def _read_pictures(
    places: Mapping[str, Path], size: tuple[int, int]
) -> tuple[dict[str, Pixels], Bits | None, list[str], list[str]]:
    """Decode picture files.

    Returns:
        The images by place; the significant bits of the 16-bit gray files, None without such; a
        line for each problem; and a line for each thing the user should know.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        deep, warnings = _depth(list(pool.map(deepest_value, places.values())))

        def read(path: Path) -> Decoded | DataError:
            try:
                return read_image(path, size, bits=deep or FULL_BITS)
            except DataError as error:
                return error

        results = dict(zip(places, pool.map(read, places.values()), strict=True))
    images = {p: one.pixels for p, one in results.items() if isinstance(one, Decoded)}
    problems = [
        line for one in results.values() if isinstance(one, DataError) for line in one.problems
    ]
    through = [
        str(places[place])
        for place, one in results.items()
        if isinstance(one, Decoded) and one.is_transparent
    ]
    if through:
        warnings.append(
            "images with transparent pixels, which were laid over black:"
            f" {len(through)}: {named(through)}"
        )
    return images, deep, problems, warnings


def _depth(found: Sequence[tuple[int | None, bool]]) -> tuple[Bits | None, list[str]]:
    """The significant bits of the set's 16-bit gray files, and lines about its 16-bit files."""
    values = [value for value, _ in found if value is not None]
    coloured = sum(is_coloured for _, is_coloured in found)
    warnings = []
    if values:
        bits = bits_of(max(values))
        if bits < FULL_BITS:
            warnings.append(
                f"16-bit gray files: {len(values)}, with values up to {max(values)}. They were"
                f" read as {bits}-bit images, where {2**bits - 1} is white; `predict` will read"
                " such files in the same way"
            )
    if coloured:
        warnings.append(
            f"files with colour or transparency and 16 bits per channel: {coloured}; the"
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
