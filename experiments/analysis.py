"""What explains a run's winner: the shift in the data, the answers, and what fine-tuning changed.

One typed object that the report and TensorBoard draw from, made anew from the run's folder at any
time. Of TEST2 it sees the selection part alone, so that making it is no look at the held-out part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from data.dataset import Dataset
from experiments.folder import Run
from model.device import Device
from model.evaluation import Evaluation
from model.hyperparameters import Hyperparameters, Protocol

BINS = 64
SAMPLES_PER_CLASS = 2
DRAWS = 2
MAX_MISTAKES = 12
MAP_CHANNELS = 8

Image = NDArray[np.uint8] | NDArray[np.float32]
"""[H, W] as stored: uint8 in 0..255 or float32 in 0..1."""


@dataclass(frozen=True)
class Sample:
    """One image of a split, as the network meets it.

    Attributes:
        index: position in the dataset's split (for TEST2, in the whole of TEST2).
        label: true class, position in `Analysis.classes`.
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
    """A split at a glance; intensities are of preprocessed images, 0..1.

    Attributes:
        name: TRAIN, TEST or TEST2.
        part: "all", or "selection" for TEST2.
        n: images.
        counts: images of each class.
        mean_image: [H, W] float32 in 0..1.
        histogram: [BINS] float64, shares of all pixels, summing to 1; bin i is from i / BINS to
            (i + 1) / BINS.
        mean: of all pixels' intensities.
        sd: their standard deviation.
        samples: SAMPLES_PER_CLASS of every class that has as many, ordered by label, then index.
        augmentation: what was drawn for `Sample.augmented`, as "baseline" (TRAIN) or "fine_tune"
            (TEST); None where nothing is drawn: on TEST2, and where the winner has all
            strengths of that stage at 0.
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


@dataclass(frozen=True)
class Shift:
    """How far two splits are apart, in units of the full intensity range; 0 is no shift.

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


@dataclass(frozen=True)
class Mistake:
    """An image of TEST2's selection part that is wrong after fine-tuning.

    Attributes:
        index: position in TEST2.
        image: [H, W] uint8 in 0..255 or float32 in 0..1, as stored.
        label: true class, position in `Analysis.classes`, as are the other classes.
        predicted: class predicted after fine-tuning.
        probability: of `predicted`, 0..1.
        before: class predicted before fine-tuning.
        before_probability: of `before`, 0..1.
    """

    index: int
    image: Image
    label: int
    predicted: int
    probability: float
    before: int
    before_probability: float


@dataclass(frozen=True)
class Predictions:
    """The exported network on TEST2's selection part.

    Attributes:
        counts: images of each class: the n of `Evaluation.per_class`.
        before, after: evaluations; `per_class` (None for a class without an image), `confusion`
            (row: true class, column: predicted class), `accuracy`, `loss` and `n`.
        repaired: images wrong before fine-tuning and right after it.
        broken: images right before and wrong after.
        mistakes: the most confident wrong answers after fine-tuning, the most probable first, at
            most MAX_MISTAKES; their total is the sum off `after.confusion`'s diagonal.
    """

    counts: tuple[int, ...]
    before: Evaluation
    after: Evaluation
    repaired: int
    broken: int
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class BlockMaps:
    """What a block makes of one image: its output after pooling and ReLU, hence >= 0.

    Attributes:
        name: "block 1", "block 2" or "block 3".
        channels: which MAP_CHANNELS channels: those with the largest mean after fine-tuning, the
            largest first; the same ones before and after.
        before, after: [MAP_CHANNELS, H / 2^i, W / 2^i] float32 >= 0, for block i; draw both on
            one scale.
    """

    name: str
    channels: tuple[int, ...]
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True)
class FeatureMaps:
    """The blocks' view of one image of TEST2's selection part.

    Attributes:
        index: position in TEST2.
        image: [H, W] uint8 in 0..255 or float32 in 0..1, as stored.
        label: true class, position in `Analysis.classes`.
        before, after: classes predicted before and after fine-tuning. The image is the repaired
            one with the highest probability after fine-tuning; without a repaired one, the first.
        blocks: block 1 to 3.
    """

    index: int
    image: Image
    label: int
    before: int
    after: int
    blocks: tuple[BlockMaps, ...]


@dataclass(frozen=True)
class LayerChange:
    """What fine-tuning changed in a layer.

    Attributes:
        name: "block 1", "block 2", "block 3", "dense 512" or "head".
        frozen: whether fine-tuning left it frozen: then `cka` of it and of all layers before it
            is 1 and both changes are 0.
        cka: linear CKA, 0..1, between the layer's outputs before and after fine-tuning on
            TEST2's selection part; None where an output does not depend on the image.
        weight_change: |after - before| / |before| over all trained parameters together, >= 0;
            None where the baseline's are all 0.
        statistics_change: the same over batch normalisation's running means and variances; None
            for layers without them.
    """

    name: str
    frozen: bool
    cka: float | None
    weight_change: float | None
    statistics_change: float | None


@dataclass(frozen=True)
class Analysis:
    """All that explains the winner; deterministic for the same data, weights and machine.

    Attributes:
        classes: names.
        splits: TRAIN, TEST and TEST2 (selection part), in that order.
        shifts: TRAIN to TEST, TRAIN to TEST2, TEST to TEST2.
        predictions: on TEST2's selection part.
        feature_maps: of one of its images.
        layers: block 1 to 3, dense 512, head.
        cka_images: images that `LayerChange.cka` was computed on.
    """

    classes: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    shifts: tuple[Shift, ...]
    predictions: Predictions
    feature_maps: FeatureMaps
    layers: tuple[LayerChange, ...]
    cka_images: int

    def to_json(self) -> dict[str, Any]:
        """The small numbers, as plain JSON values, for `result.json`.

        {"part": "selection", "n", "classes": [..], "counts": [..],
        "per_class": {"before": [share or None..], "after": [..]}, "repaired", "broken",
        "intensity": {split: {"n", "mean", "sd"}}, "shifts": [{first, second, intensity,
        mean_image}..], "layers": [{name, frozen, cka, weight_change, statistics_change}..],
        "cka_images"}.
        """
        p = self.predictions
        return {
            "part": "selection",
            "n": p.after.n,
            "classes": list(self.classes),
            "counts": list(p.counts),
            "per_class": {"before": list(p.before.per_class), "after": list(p.after.per_class)},
            "repaired": p.repaired,
            "broken": p.broken,
            "intensity": {s.name: {"n": s.n, "mean": s.mean, "sd": s.sd} for s in self.splits},
            "shifts": [asdict(shift) for shift in self.shifts],
            "layers": [asdict(layer) for layer in self.layers],
            "cka_images": self.cka_images,
        }


def analyse(
    dataset: Dataset,
    protocol: Protocol,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    hyperparameters: Hyperparameters,
    device: Device,
) -> Analysis:
    """Explain one network's fine-tuning.

    Args:
        dataset: of the run; TEST2 is divided here, and its held-out part is never read.
        protocol: of the run.
        before: the network's state after the baseline.
        after: its state after fine-tuning.
        hyperparameters: of the trial: augmentation and frozen layers.
        device: applied to this process by the caller; all is computed in float32.
    """
    raise NotImplementedError


def analyse_run(run: Run) -> Analysis:
    """Explain the network that a finished run exported, from its folder alone.

    Raises:
        NotARun: the run has no dataset or bundle, or they are damaged or of different data.
    """
    raise NotImplementedError
