"""The images and labels that trials use: TEST2 divided, preprocessed, on the device.

The held-out part of TEST2 is taken out of the dataset here, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.dataset import Dataset, Division, Split, divide, joined
from shiftsearch.data.folds import divide_into_folds
from shiftsearch.data.tensors import to_device
from shiftsearch.model.course import preprocessed_digest
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.folds import Fold
from shiftsearch.model.hyperparameters import PreprocessingHyperparameters, Protocol
from shiftsearch.model.sample_weights import sample_weights

KEPT_BYTES = 2**28
"""Memory for preprocessed copies of the data on the device; one copy is kept even if larger."""


@dataclass(frozen=True)
class ProtocolData:
    """The images and labels that a trial may use, on its device, with one preprocessing.

    Attributes:
        classes: number of classes.
        image_size: (H, W) in pixels.
        train: TRAIN; the baseline is trained on it.
        test: TEST; validates the baseline, and the fine-tune is trained on it.
        selection: the part of TEST2 that validates the fine-tune and ranks trials.
        together: returns TRAIN and TEST as one set, which the fine-tune may be trained on; the set
            is made at the first call.
        weights: returns the weights of a training set, by its splits and their source, "file" or
            "density_ratio"; they are made at the first call.
        preprocessing: how the images were changed.
        preprocessed: returns the same data with another preprocessing, and keeps the last ones.
        folds: folds of the selection part; none unless the protocol has more than one.
    """

    classes: int
    image_size: tuple[int, int]
    train: TensorSplit
    test: TensorSplit
    selection: TensorSplit
    together: Callable[[], TensorSplit]
    weights: Callable[[tuple[str, ...], str], Tensor]
    preprocessing: PreprocessingHyperparameters
    preprocessed: Callable[[PreprocessingHyperparameters], ProtocolData]
    folds: tuple[Fold, ...] = ()

    def training_set(self, splits: tuple[str, ...], weights: str = "none") -> TensorSplit:
        """TRAIN, TEST, or both in this order, with weights from this source.

        Raises:
            ValueError: `weights` is "file", but none of the splits has a file of weights.
        """
        alone = {("TRAIN",): self.train, ("TEST",): self.test}
        train = alone[splits] if splits in alone else self.together()
        return (
            train if weights == "none" else replace(train, weights=self.weights(splits, weights))
        )


def division_of(dataset: Dataset, protocol: Protocol) -> Division:
    """The run's division of TEST2; always the same for the same data and protocol."""
    return divide(dataset.splits["TEST2"], protocol.holdout, protocol.division_seed)


def prepare(dataset: Dataset, protocol: Protocol, device: Device) -> ProtocolData:
    """Divide TEST2, and move the images and labels that a trial may use to the device, as stored.

    A preprocessing is computed once, when it is first asked for, so the trials that share it in
    this process pay for it once. `KEPT_BYTES` bounds the copies that are kept.
    """
    train, test = dataset.splits["TRAIN"], dataset.splits["TEST"]
    selection = dataset.splits["TEST2"].take(division_of(dataset, protocol).selection)
    selection.images.setflags(write=False)  # so that the CPU's tensor is no second copy
    folds = divide_into_folds(selection, protocol.folds, protocol.division_seed)
    height, width = dataset.image_size
    # float32, and TRAIN and TEST once more for `together`
    copy = 4 * height * width * (2 * len(train) + 2 * len(test) + len(selection))

    @lru_cache(maxsize=1 + max(1, KEPT_BYTES // copy))
    def preprocessed(how: PreprocessingHyperparameters) -> ProtocolData:
        """The data with this preprocessing, computed once while it is kept."""

        def on_device(split: Split) -> TensorSplit:
            changed = replace(split, images=how.apply(split.images))
            return TensorSplit(
                *to_device(changed, device.torch_device), preprocessed_digest(split, how)
            )

        @cache
        def together() -> TensorSplit:
            return on_device(joined([train, test]))

        @cache
        def weights(splits: tuple[str, ...], source: str) -> Tensor:
            own = joined([dataset.splits[name] for name in splits])
            own = replace(own, images=how.apply(own.images))
            found = sample_weights(source, own, how.apply(selection.images))
            return torch.from_numpy(found).float().to(device.torch_device)

        chosen = on_device(selection)

        def fold(positions: NDArray[np.int64]) -> Fold:
            others = np.setdiff1d(np.arange(len(selection)), positions)
            images, labels = chosen.images[others], chosen.labels[others]
            digest = preprocessed_digest(selection.take(others), how)
            return Fold(positions, TensorSplit(images, labels, digest))

        return ProtocolData(
            len(dataset.classes),
            dataset.image_size,
            train=on_device(train),
            test=on_device(test),
            selection=chosen,
            together=together,
            weights=weights,
            preprocessing=how,
            preprocessed=preprocessed,
            folds=tuple(map(fold, folds)) if protocol.folds > 1 else (),
        )

    return preprocessed(PreprocessingHyperparameters())
