"""Read a dataset from folders of pictures: DIR/{TRAIN,TEST,TEST2}/<class>/*.png and the like.

The result is the same as if `data import` had written .npy files of the same size before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shiftsearch.data.dataset import DataError, Dataset, Split, blank_images
from shiftsearch.data.image_file import SUFFIXES
from shiftsearch.data.image_folder import read_scan
from shiftsearch.data.pictures import common_size, declared_sizes, read_pictures
from shiftsearch.data.problems import named
from shiftsearch.data.reading import Reading
from shiftsearch.data.scale import FULL_BITS
from shiftsearch.data.scan import Scan

NPY = (".npy",)


def suffixes_in(path: Path, names: Mapping[str, str]) -> tuple[str, ...]:
    """The suffixes to read in a dataset folder: those of pictures if it has some, and no .npy.

    Args:
        path: the folder.
        names: the name of each split's folder.
    """
    has_pictures = False
    for name in names.values():
        for here, folders, files in os.walk(path / name, followlinks=True):
            if here != str(path / name):
                folders.clear()  # images lie in the class folders
            lower = [file.lower() for file in files if not file.startswith(".")]
            if any(file.endswith(NPY) for file in lower):
                return NPY
            has_pictures = has_pictures or any(file.endswith(SUFFIXES) for file in lower)
    return SUFFIXES if has_pictures else NPY


def read_any(scan: Scan, how: Reading) -> tuple[Dataset, list[str]]:
    """Read the files of a scan, .npy files or pictures.

    Returns:
        The dataset, and a line for each thing the user should know.

    Raises:
        DataError: with a line for each problem of the layout and of the files.
        OSError: the machine is at fault, not the files.
    """
    return read_scan(scan) if scan.suffixes == NPY else _read_pictures(scan, how)


def _read_pictures(scan: Scan, how: Reading) -> tuple[Dataset, list[str]]:
    """As `image_folder.read_scan`, for pictures."""
    places = {
        file: scan.folder / file
        for split in scan.splits
        for name in scan.classes
        for file in scan.files.get(split, {}).get(name, [])
    }
    weights, problems = scan.weights()
    problems = [*scan.problems, *problems]
    try:
        size = how.size or common_size(scan.folder, declared_sizes([*places.values()]))
    except DataError as error:
        raise DataError([*problems, *error.found]) from None
    read = read_pictures(places, size, how.aspect, how.bits)
    if problems or read.problems:
        raise DataError([*problems, *read.problems])
    warnings, blank = [*scan.warnings, *read.warnings], list[str]()
    splits = {}
    for split in scan.splits:
        files = [
            (label, f) for label, name in enumerate(scan.classes) for f in scan.files[split][name]
        ]
        images: Any = np.stack([read.images[file] for _, file in files])
        blank += [str(places[files[index][1]]) for index in blank_images(images)]
        labels = np.array([label for label, _ in files], dtype=np.int64)
        names = np.array([os.fsencode(file) for _, file in files])
        splits[split] = Split(images, labels, weights.get(split), names)
    if blank:
        warnings.append(f"blank images (a single value): {len(blank)}: {named(blank)}")
    bits = read.bits or FULL_BITS
    return Dataset(tuple(scan.classes), splits, bits=bits, aspect=how.aspect), warnings
