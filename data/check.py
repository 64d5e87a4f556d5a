"""Count a dataset's images; find imbalance, leakage, contradicting labels and faint images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import SPLITS, Dataset, identical_images
from shiftsearch.data.scale import FAINT
from shiftsearch.data.weights import Weights, effective_number, mean_one

MAX_IMBALANCE = 3


@dataclass(frozen=True)
class Report:
    """The contents of a dataset.

    Attributes:
        classes: class names.
        counts: split -> number of images of each class, in the order of `classes`.
        ranges: split -> smallest and largest value.
        dtype: dtype of the images as read: uint8 or float32.
        image_size: height and width, pixels.
        digest: the dataset's content digest.
        weights: split with weights -> smallest and largest weight, relative to their mean, and the
            effective number of images, see `data.weights`.
        warnings: one line each.
    """

    classes: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    ranges: Mapping[str, tuple[float, float]]
    dtype: str
    image_size: tuple[int, int]
    digest: str
    weights: Mapping[str, tuple[float, float, float]]
    warnings: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line with size, dtype, ranges and digest."""
        ranges = ", ".join(
            f"{split} {low:g}..{high:g}" for split, (low, high) in self.ranges.items()
        )
        height, width = self.image_size
        return f"{height}x{width} pixels, {self.dtype}, values in {ranges}; digest {self.digest}"


def check(dataset: Dataset) -> Report:
    """Count a dataset's images and look for problems that may mislead a user; see `Report`.

    There is a warning, with counts, for splits whose largest class is over 3 times the smallest,
    for identical images in two splits or under different labels, and for a set that uses less than
    an eighth of the range of its scale. Blank images are reported when the files are read.
    """
    counts = {
        name: tuple(np.bincount(split.labels, minlength=len(dataset.classes)).tolist())
        for name, split in dataset.splits.items()
    }
    images = [dataset.splits[name].images for name in SPLITS]
    numbers = identical_images(np.concatenate(images))
    labels = np.concatenate([dataset.splits[name].labels for name in SPLITS])
    of_split = dict(
        zip(SPLITS, np.split(numbers, np.cumsum([len(part) for part in images])[:-1]), strict=True)
    )
    ranges = {
        name: (float(split.images.min()), float(split.images.max()))
        for name, split in dataset.splits.items()
    }
    return Report(
        classes=dataset.classes,
        counts=counts,
        ranges=ranges,
        dtype=images[0].dtype.name,
        image_size=dataset.image_size,
        digest=dataset.digest,
        weights={
            name: _spread(split.weights)
            for name, split in dataset.splits.items()
            if split.weights is not None
        },
        warnings=(
            *_imbalances(dataset.classes, counts),
            *_leakages(of_split),
            *_contradictions(numbers, labels),
            *_faintness(ranges, white=255 if images[0].dtype == np.uint8 else 1),
        ),
    )


def _spread(weights: Weights) -> tuple[float, float, float]:
    """Smallest and largest weight, relative to their mean, and the effective number of images."""
    relative = mean_one(weights)
    return float(relative.min()), float(relative.max()), effective_number(weights)


def _imbalances(classes: tuple[str, ...], counts: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A line for each split whose largest class is over `MAX_IMBALANCE` times the smallest."""
    return [
        f"{split}: class {classes[own.index(max(own))]!r} has {max(own)} images, but class"
        f" {classes[own.index(min(own))]!r} has {min(own)};"
        f" over {MAX_IMBALANCE} times as many is imbalanced"
        for split, own in counts.items()
        if max(own) > MAX_IMBALANCE * min(own)
    ]


def _leakages(of_split: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """A line for each pair of splits that share images; equal numbers are identical images."""
    lines = []
    for one, other in combinations(SPLITS, 2):
        in_one = np.count_nonzero(np.isin(of_split[one], of_split[other]))
        in_other = np.count_nonzero(np.isin(of_split[other], of_split[one]))
        if in_one:
            lines.append(
                f"identical images in {one} ({in_one}) and {other} ({in_other}):"
                " an accuracy on one split is not independent of the other"
            )
    return lines


def _contradictions(numbers: NDArray[np.int64], labels: NDArray[np.int64]) -> list[str]:
    """A line if identical images have different labels, in one split or across splits."""
    pairs = np.unique(np.stack([numbers, labels]), axis=1)
    contradicting = np.flatnonzero(np.bincount(pairs[0]) > 1)
    if not len(contradicting):
        return []
    images = np.count_nonzero(np.isin(numbers, contradicting))
    return [
        f"images with an identical one under another label: {images}"
        f" ({len(contradicting)} different)"
    ]


def _faintness(ranges: Mapping[str, tuple[float, float]], white: int) -> list[str]:
    """A line if the whole set uses a small part of the range 0 to `white`."""
    top = max(high for _, high in ranges.values())
    if top >= FAINT * white:
        return []
    return [
        f"the largest value is {top:g}, so the images use {100 * top / white:.2g} % of the range"
        f" 0..{white}: if {top:g} is white in them, divide by it, or import them anew"
    ]
