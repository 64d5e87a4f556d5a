"""Summaries of a split, and the shift between two splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shiftsearch.data.augmentation import augment
from shiftsearch.data.dataset import Split
from shiftsearch.data.tensors import normalise
from shiftsearch.model.hyperparameters import Augmentation, PreprocessingHyperparameters

BINS = 64
SAMPLES_PER_CLASS = 2
DRAWS = 2

_CHUNK = 1024  # number of images whose intensities are computed at a time

Image = NDArray[np.uint8] | NDArray[np.float32]
"""[H, W] as stored: uint8 in 0..255 or float32 in 0..1."""


@dataclass(frozen=True)
class Sample:
    """One image of a split, as stored and as the network gets it.

    Attributes:
        index: position in the dataset's split (for TEST2, in the whole of TEST2).
        label: true class, position in the dataset's `classes`.
        stored: [H, W] uint8 in 0..255 or float32 in 0..1, as stored.
        preprocessed: [H, W] float32 in 0..1, the network's input.
        augmented: [DRAWS, H, W] float32 in 0..1, as in training; [0, H, W] where the split's
            `augmentation` is None.
    """

    index: int
    label: int
    stored: Image
    preprocessed: NDArray[np.float32]
    augmented: NDArray[np.float32]


@dataclass(frozen=True)
class SplitSummary:
    """A summary of a split; intensities are of the images as stored, brought to 0..1.

    Attributes:
        name: TRAIN, TEST or TEST2.
        part: "all", or "selection" for TEST2.
        n: number of images.
        counts: number of images of each class.
        mean_image: [H, W] float32 in 0..1.
        histogram: [BINS] float64, fractions of all pixels, summing to 1; bin i is from i / BINS
            to (i + 1) / BINS.
        mean: mean of all pixels' intensities.
        sd: their standard deviation.
        samples: up to SAMPLES_PER_CLASS images of every class, ordered by label, then index.
        augmentation: the stage whose augmentation `Sample.augmented` has: "baseline" (TRAIN) or
            "fine_tune" (TEST); None for TEST2, and if all of the winner's strengths are 0.
        is_preprocessed: whether the network's preprocessing changes the samples.
    """

    name: str
    part: str
    n: int
    counts: tuple[int, ...]
    mean_image: NDArray[np.float32]
    histogram: NDArray[np.float64]
    mean: float
    sd: float
    samples: tuple[Sample, ...]
    augmentation: str | None
    is_preprocessed: bool = False


@dataclass(frozen=True)
class Shift:
    """The shift between two splits, in units of the full intensity range; 0 is no shift.

    Attributes:
        first, second: names of the splits.
        intensity: 1-Wasserstein (earth mover's) distance between the intensity histograms, 0..1:
            the mean amount by which intensities must change to turn one into the other
            (https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.wasserstein_distance.html).
        mean_image: root mean square difference of the mean images' pixels, 0..1.
    """

    first: str
    second: str
    intensity: float
    mean_image: float


def summarise_split(
    name: str,
    split: Split,
    positions: NDArray[np.int64] | None,
    classes: int,
    augmentation: tuple[str, Augmentation] | None,
    preprocessing: PreprocessingHyperparameters,
) -> SplitSummary:
    """Summarise a split or a part of it; the same arguments give the same random draws.

    Args:
        name: TRAIN, TEST or TEST2.
        split: the whole split; may be memory-mapped.
        positions: [n] int64, the images to summarise (TEST2's selection part); None for all.
        classes: number of classes.
        augmentation: stage and strengths of the augmentation, or None.
        preprocessing: the network's; only the samples show it.
    """
    part = "all" if positions is None else "selection"
    positions = np.arange(len(split)) if positions is None else positions
    total = np.zeros(split.images.shape[1:])
    squares, bins = 0.0, np.zeros(BINS, dtype=np.int64)
    for start in range(0, len(positions), _CHUNK):
        chunk = _unit(split.images[positions[start : start + _CHUNK]])
        total += chunk.sum(axis=0, dtype=np.float64)
        squares += float(np.square(chunk, dtype=np.float64).sum())
        at = np.minimum((chunk * BINS).astype(np.int64), BINS - 1)
        bins += np.bincount(at.ravel(), minlength=BINS)
    pixels = len(positions) * total.size
    mean = float(total.sum()) / pixels
    stage, strengths = augmentation or (None, None)
    if strengths is not None and not strengths.is_on:
        stage = strengths = None
    return SplitSummary(
        name=name,
        part=part,
        n=len(positions),
        counts=tuple(np.bincount(split.labels[positions], minlength=classes).tolist()),
        mean_image=(total / len(positions)).astype(np.float32),
        histogram=bins / pixels,
        mean=mean,
        sd=max(0.0, squares / pixels - mean**2) ** 0.5,
        samples=_samples(split, positions, classes, strengths, preprocessing),
        augmentation=stage,
        is_preprocessed=bool(preprocessing.content()),
    )


def _unit(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, H, W] as stored to float32 in 0..1."""
    result: NDArray[np.float32] = normalise(torch.tensor(images)).numpy()
    return result


def _samples(
    split: Split,
    positions: NDArray[np.int64],
    classes: int,
    strengths: Augmentation | None,
    preprocessing: PreprocessingHyperparameters,
) -> tuple[Sample, ...]:
    """The first images of each class."""
    labels = split.labels[positions]
    first = [positions[labels == label][:SAMPLES_PER_CLASS] for label in range(classes)]
    indices = np.concatenate(first)
    stored = split.images[indices]
    clean = _unit(preprocessing.apply(stored))
    drawn = np.empty((len(indices), 0, *clean.shape[1:]), dtype=np.float32)
    if strengths is not None:
        repeated = torch.from_numpy(clean).repeat_interleave(DRAWS, dim=0).unsqueeze(1)
        draws = augment(repeated, strengths, torch.Generator().manual_seed(0))
        drawn = draws.numpy().reshape(len(indices), DRAWS, *clean.shape[1:])
    return tuple(
        Sample(int(index), int(split.labels[index]), stored[i], clean[i], drawn[i])
        for i, index in enumerate(indices)
    )


def shift_between(first: SplitSummary, second: SplitSummary) -> Shift:
    """The shift from the first split to the second."""
    # In one dimension, the distance is the area between the cumulative distributions.
    apart = np.abs(np.cumsum(first.histogram - second.histogram)).sum() / BINS
    difference = first.mean_image.astype(np.float64) - second.mean_image
    return Shift(
        first=first.name,
        second=second.name,
        intensity=float(apart),
        mean_image=float(np.sqrt(np.square(difference).mean())),
    )
