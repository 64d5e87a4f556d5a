"""Write dataset folders, from pictures and arrays of any source or from a dataset in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from shiftsearch.data.dataset import SPLITS, DataError, Dataset, blank_images
from shiftsearch.data.fitting import fitted, said_of_sizes
from shiftsearch.data.import_record import ImportRecord
from shiftsearch.data.import_sources import find_images
from shiftsearch.data.os_errors import said
from shiftsearch.data.pictures import common_size, declared_sizes, read_pictures
from shiftsearch.data.problems import named
from shiftsearch.data.publishing import save_array, written_beside
from shiftsearch.data.reading import AS_IT_IS, Reading
from shiftsearch.data.scale import FULL_BITS, Pixels
from shiftsearch.data.weights import WEIGHTS, Weights, write_weights


def import_images(
    source: Path, target: Path, how: Reading = AS_IT_IS, classes: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """Make a dataset folder from pictures or arrays; `find_images` says what a source may be.

    Every image is read and checked before anything is written, and `target` appears whole or not
    at all. `read_image` says how an image is converted. `a.png` becomes `a.png.npy`, so that
    `a.jpg` beside it keeps its own name; images of arrays and of a CSV are numbered in their order
    in the split. A split's `weights.csv` in a folder of pictures is taken along, see
    `data.weights`. 16-bit gray files are all read with the number of bits that their largest value
    needs. `imported.json` records this number and what was done to images of another aspect ratio,
    so that a model trained on these images reads files in the same way.

    Args:
        source: what holds the images.
        target: the dataset folder to make; may exist if it is empty.
        how: the names of the splits, the size and the aspect. Without a size, all images must have
            one, which they keep.
        classes: names of the classes, of which labels are positions, counted from 0.

    Returns:
        One line that says what was written, and a line for each thing the user should know.

    Raises:
        DataError: with a line for each problem of `source`, `target`, sizes or `classes`.
    """
    target = _empty_target(target)
    found = find_images(source, classes, how)
    problems = found.problems or _unequal(source, found.images)
    pictures = {place: path for place, path in found.images.items() if isinstance(path, Path)}
    arrays = {place: a for place, a in found.images.items() if not isinstance(a, Path)}
    shapes = [(a.shape[0], a.shape[1]) for a in arrays.values()]
    try:
        size = how.size or common_size(source, [*shapes, *declared_sizes([*pictures.values()])])
    except DataError as error:
        raise DataError([*problems, *error.found]) from None
    read = read_pictures(pictures, size, how.aspect)
    if problems or read.problems:
        raise DataError([*problems, *read.problems])
    images = read.images | {p: fitted(array, size, how.aspect) for p, array in arrays.items()}
    warnings = [*read.warnings]
    if line := said_of_sizes(zip(arrays, shapes, strict=True), len(arrays), size, how.aspect):
        warnings.append(line)
    record = ImportRecord(bits=read.bits or FULL_BITS, aspect=how.aspect)
    _write_files(target, images.items(), record, found.weights)
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
    record = ImportRecord(dataset.bits, dataset.aspect)
    _write_files(_empty_target(target), places, record, weights)


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
    record: ImportRecord,
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
            record.write(beside)
    except OSError as error:
        raise DataError([f"{target}: cannot be written: {said(error)}"]) from error
