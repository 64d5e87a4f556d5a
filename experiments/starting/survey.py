"""Look at a folder of images: their number, their sizes, and how the splits differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.check import MAX_IMBALANCE, Report, check
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.fitting import Size
from shiftsearch.data.image_file import SUFFIXES
from shiftsearch.data.npy_image import MIN_SIDE
from shiftsearch.data.picture_folder import suffixes_in
from shiftsearch.data.pictures import declared_sizes
from shiftsearch.data.problems import named
from shiftsearch.data.reading import Reading, split_folders
from shiftsearch.data.scan import scan_folder
from shiftsearch.experiments.analysis.suggestion import Measures, measure_splits, suggested
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.inputs import refuse_misfits
from shiftsearch.model.hyperparameters import Protocol

LONGEST_SIDE = 64
"""Pixels of the longer side to which larger pictures are shrunk, if no size is asked for."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        folder: the folder.
        names: the name of each split's folder.
        how: how the images are read; with the chosen size if it is not that of all files.
        why_size: why a size was chosen, in one line; empty if it is that of all files.
        dataset: the images.
        counts: number of images by split and class, and warnings.
        warnings: what the user should know about files and images, one line each.
        measures: how the images of each split look.
    """

    folder: Path
    names: Mapping[str, str]
    how: Reading
    why_size: str
    dataset: Dataset
    counts: Report
    warnings: Sequence[str]
    measures: Mapping[str, Measures]

    @property
    def shift(self) -> dict[str, str]:
        """The fields of `preprocessing` that the shift suggests, with the measured values."""
        return suggested(self.measures, min(self.dataset.image_size))

    @property
    def is_imbalanced(self) -> bool:
        """Whether a split's largest class is over `MAX_IMBALANCE` times the smallest."""
        return any(max(own) > MAX_IMBALANCE * min(own) for own in self.counts.counts.values())


def survey(folder: Path, how: Reading) -> Survey:
    """Look at a folder of pictures or .npy files.

    If the sizes of pictures differ, or are large, and none is asked for, one is chosen.

    Raises:
        data.dataset.DataError: the folder's images cannot be used, or the splits not be told.
    """
    names = split_folders(folder, how)
    why_size = ""
    if how.size is None and suffixes_in(folder, names) == SUFFIXES:
        size, why_size = chosen_size(_sizes(folder, names))
        how = replace(how, size=size)
    dataset, warnings = open_dataset(folder, how=how)
    refuse_misfits(build({}, "defaults"), dataset)  # a TEST2 of one image has no two parts
    counts = check(dataset)
    found = [*warnings, *counts.warnings]
    measures = measure_splits(dataset, Protocol())
    return Survey(folder, names, how, why_size, dataset, counts, found, measures)


def chosen_size(sizes: Sequence[Size]) -> tuple[Size | None, str]:
    """The size to read pictures in, and why; None if all have one that is small enough.

    It is the most frequent one, shrunk to `LONGEST_SIDE` in the same aspect ratio if it is larger.
    """
    counts = Counter(sizes).most_common()
    if not counts:
        return None, ""
    usual = counts[0][0]
    factor = min(1.0, LONGEST_SIDE / max(usual))
    height, width = (max(MIN_SIDE, round(side * factor)) for side in usual)
    if len(counts) == 1 and (height, width) == usual:
        return None, ""
    listed = named([f"{h}x{w} ({count})" for (h, w), count in counts])
    why = f"the files have {listed} pixels"
    if factor < 1:
        why += f"; shrunk, because a search on more than {LONGEST_SIDE} pixels a side is slow"
    return (height, width), why


def _sizes(folder: Path, names: Mapping[str, str]) -> list[Size]:
    scan = scan_folder(folder, SUFFIXES, names=names)
    files = [f for by_class in scan.files.values() for own in by_class.values() for f in own]
    return declared_sizes([folder / file for file in files])
