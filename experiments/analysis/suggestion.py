"""What the shift between the splits suggests: preprocessing that the search could choose from.

Measured before anything is trained, on up to `MOST` images of each split. Of TEST2 only the
selection part is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.preprocessing import (
    CENTRES,
    INTENSITIES,
    POLARITIES,
    bright_on_dark,
    is_bright_outside,
    offsets,
)
from shiftsearch.data.scale import Pixels
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.prepared import division_of
from shiftsearch.search.proposing.space import Space

MOST = 1000
LEVEL = 0.1
"""A difference of mean intensity between two splits that is worth a line; the full range is 1."""
CONTRAST = 1.25
"""A ratio of contrast between two splits that is worth one."""
INVERTED = 0.1
"""A fraction of images of each of both polarities, in some split, that is worth one."""
OFF_CENTRE = 1 / 14
"""A mean distance of figures from the middle, in sides of the image, that is worth one."""


@dataclass(frozen=True)
class Measures:
    """How the images of a split look.

    Attributes:
        level: mean intensity in 0..1, with every image bright on dark.
        contrast: mean over the images of the standard deviation within each, 0..0.5.
        inverted: fraction of the images with a dark figure on a bright background.
        off_centre: mean distance of the figures' centres of mass from the middle, in pixels.
    """

    level: float
    contrast: float
    inverted: float
    off_centre: float


def measure(images: Pixels) -> Measures:
    """Measure [N, H, W] images, uint8 in 0..255 or float32 in 0..1."""
    white = 255 if images.dtype == np.uint8 else 1
    upright: NDArray[np.float64] = bright_on_dark(images).astype(np.float64) / white
    return Measures(
        level=float(upright.mean()),
        contrast=float(upright.std(axis=(1, 2)).mean()),
        inverted=float(is_bright_outside(images).mean()),
        off_centre=float(np.hypot(*offsets(images).T).mean()),
    )


def measure_splits(dataset: Dataset, protocol: Protocol) -> dict[str, Measures]:
    """Measure TRAIN, TEST and the selection part of TEST2."""
    return {name: measure(few) for name, few in some_images(dataset, protocol, MOST).items()}


def some_images(dataset: Dataset, protocol: Protocol, most: int) -> dict[str, Pixels]:
    """Up to `most` images of TRAIN, TEST and the selection part of TEST2, evenly spread."""
    selection = division_of(dataset, protocol).selection
    found = {}
    for name, split in dataset.splits.items():
        places = selection if name == "TEST2" else np.arange(len(split))
        few = places[np.linspace(0, len(places) - 1, min(len(places), most)).astype(np.int64)]
        found[name] = split.images[few]
    return found


def suggested(splits: Mapping[str, Measures], side: int) -> dict[str, str]:
    """The fields of `preprocessing` to consider, each with the measured values as text.

    Args:
        splits: by name.
        side: the smaller side of the images, pixels.
    """
    measures = splits.values()
    level, contrast, inverted, away = (
        [getattr(m, name) for m in measures]
        for name in ("level", "contrast", "inverted", "off_centre")
    )
    found = {}
    if max(inverted) > INVERTED and min(inverted) < 1 - INVERTED:
        found["polarity"] = f"dark on bright {_listed([100 * i for i in inverted], '.0f')} %"
    if max(level) - min(level) > LEVEL or max(contrast) > CONTRAST * min(contrast):
        found["intensity"] = f"mean {_listed(level, '.2f')}, contrast {_listed(contrast, '.2f')}"
    if max(away) > OFF_CENTRE * side:
        found["centre"] = f"off centre by {_listed(away, '.1f')} pixels"
    return found


def suggestion(dataset: Dataset, protocol: Protocol, space: Space) -> str:
    """One line with the measured values and what to add to the space; empty without a reason.

    What the space fixes or searches already is not suggested.
    """
    splits = measure_splits(dataset, protocol)
    choices = {"polarity": POLARITIES, "intensity": INTENSITIES, "centre": CENTRES}
    found = {
        name: text
        for name, text in suggested(splits, min(dataset.image_size)).items()
        if f"preprocessing.{name}" not in {**space.fixed, **space.distributions}
    }
    if not found:
        return ""
    lines = [f"preprocessing.{n}: {{choices: [{', '.join(choices[n])}]}}" for n in found]
    values = "; ".join(found.values())
    return f"{', '.join(splits)}: {values}; consider in the space: {'; '.join(lines)}"


def _listed(values: Sequence[float], form: str) -> str:
    return ", ".join(format(value, form) for value in values)
