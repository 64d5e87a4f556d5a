"""Read a dataset from folders of .npy files: DIR/{TRAIN,TEST,TEST2}/<class>/*.npy.

Nothing is unpickled. The files are read by two threads per core. 70,000 files of 28x28 took 3.4 to
4.7 s, with one thread 6.4 to 9.5 s, with four per core 3.2 to 6.1 s, and with two processes per
core 3.5 to 4.8 s (2 cores, ext4, page cache dropped, n = 3, other work on the machine). Files in
the page cache take 1.3 s with one thread and 2.3 s with four, because Python is then the limit.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shiftsearch.data.dataset import DataError, Dataset, Split, blank_images
from shiftsearch.data.npy_image import Image, read_file
from shiftsearch.data.problems import named
from shiftsearch.data.scale import LEAST_WIDE, Scale, misfit, scale_of, to_unit
from shiftsearch.data.scan import Scan, scan_folder

_CHUNK = 500
_MAX_THREADS = 32


class _Placed(NamedTuple):
    """An image that was read, with its split, label and path."""

    split: str
    label: int
    path: str
    image: Image


def read_folder(path: Path) -> tuple[Dataset, list[str]]:
    """Read and check a dataset folder; see `scan_folder` and `read_scan`."""
    return read_scan(scan_folder(path))


def read_scan(scan: Scan) -> tuple[Dataset, list[str]]:
    """Read and check the files of a scan; images come in the order of class, then file name.

    uint8 images stay uint8. Floats become float32 in 0..1. The scale of the whole set
    decides whether they are divided by 255, see `data.scale`.

    Returns:
        The dataset, and a line for each thing the user should know.

    Raises:
        DataError: with a line for each problem of the layout and of the files.
        OSError: the machine is at fault, not the files.
    """
    places = [
        (split, label, f"{scan.folder}/{file}")
        for split in scan.splits
        for label, name in enumerate(scan.classes)
        for file in scan.files.get(split, {}).get(name, [])
    ]
    results = _read_files([path for *_, path in places])
    weights, wrong_weights = scan.weights()
    problems = [*scan.problems, *(result for result in results if isinstance(result, str))]
    problems += wrong_weights
    images = [
        _Placed(*place, result)
        for place, result in zip(places, results, strict=True)
        if not isinstance(result, str)
    ]
    paths = [placed.path for placed in images]
    problems += _odd_ones(paths, [p.image.pixels.shape for p in images], "size")
    problems += _odd_ones(paths, [p.image.dtype for p in images], "dtype")
    scale: Scale = "uint8"
    if not problems and images[0].image.dtype != "uint8":
        scale = scale_of([p.image.highest for p in images])
        problems += _off_scale(scan.folder, images, scale)
    if problems:
        raise DataError(problems)

    splits, warnings = {}, [*scan.warnings, *_on_scale(scan.folder, images, scale)]
    blank: list[str] = []
    for name in scan.splits:
        own = [placed for placed in images if placed.split == name]
        pixels: Any = np.stack([to_unit(placed.image.pixels, scale) for placed in own])
        blank += [own[index].path for index in blank_images(pixels)]
        labels = np.array([p.label for p in own], dtype=np.int64)
        files = np.array([os.fsencode(p.path.removeprefix(f"{scan.folder}/")) for p in own])
        splits[name] = Split(pixels, labels, weights.get(name), files)
    if blank:
        warnings.append(f"blank images (a single value): {len(blank)}: {named(blank)}")
    return Dataset(tuple(scan.classes), splits, "", scale, *scan.imported), warnings


def _off_scale(folder: Path, images: Sequence[_Placed], scale: Scale) -> list[str]:
    """A line for each file, split or set of floats that is not on the set's scale."""
    if scale == "float 0..1":
        return [
            f"{p.path}: {wrong} as in most files, or all in 0..255"
            for p in images
            if (wrong := misfit(scale, p.image.dtype, p.image.highest))
        ]
    splits = dict.fromkeys(placed.split for placed in images)
    highest = {split: max(p.image.highest for p in images if p.split == split) for split in splits}
    top = max(highest.values())
    if top < LEAST_WIDE:
        return [
            f"{folder}: largest value {top:.7g}, but floats must be in 0..1 or in 0..255; divide"
            " all images by the value that means white, or clip them to 0..1"
        ]
    return [
        f"{folder / split}: largest value {value:g}, but {top:g} in"
        " another split; all must be in 0..1, or all in 0..255"
        for split, value in highest.items()
        if value <= 1
    ]


def _on_scale(folder: Path, images: Sequence[_Placed], scale: Scale) -> list[str]:
    """Lines about how a set of floats was brought to 0..1, and about doubtful values in it."""
    if scale == "uint8":
        return []
    white, lines = (255, []) if scale == "float 0..255" else (1, [])
    if white == 255:
        top = max(p.image.highest for p in images)
        lines.append(
            f"{folder}: float images up to {top:g} were read as 0..255 and divided by 255"
        )
        dark = [p.path for p in images if 0 < p.image.highest <= 1]
        if dark:
            lines.append(
                f"images of a 0..255 set without a value above 1, which are almost black:"
                f" {len(dark)}: {named(dark)}"
            )
    clipped = [p.path for p in images if p.image.lowest < 0 or p.image.highest > white]
    if clipped:
        lines.append(
            f"images with values a little outside 0..{white}, which were clipped:"
            f" {len(clipped)}: {named(clipped)}"
        )
    return lines


def _odd_ones(paths: Sequence[str], values: Sequence[object], what: str) -> list[str]:
    """A line for each file whose size or dtype is not the most frequent one."""
    if not values:
        return []
    usual = Counter(values).most_common(1)[0][0]
    return [
        f"{path}: {what} {value}, but most files have {usual}; all must have the same"
        for path, value in zip(paths, values, strict=True)
        if value != usual
    ]


def _read_files(paths: Sequence[str]) -> list[Image | str]:
    """For each path the image, or a line that says what is wrong with the file."""
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    threads = min(_MAX_THREADS, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:
        return [
            result
            for results in pool.map(lambda chunk: [read_file(path) for path in chunk], chunks)
            for result in results
        ]
