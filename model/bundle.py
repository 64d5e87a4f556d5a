"""The bundle: an exported model that loads without pickle and reproduces its own numbers.

A bundle is a folder of `model.safetensors` (the fine-tuned weights), `baseline.safetensors` (the
weights before fine-tuning) and `bundle.json` (all else, and the checksums). An ensemble has a file
`member-2.safetensors` and so on for each further network, and the first one's baseline.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.arrays import checked_images
from shiftsearch.data.dataset import SPLITS, DataError, Dataset, Split
from shiftsearch.data.tensors import changed, to_device
from shiftsearch.model.bundle_format import (
    RECORD,
    WEIGHTS,
    BundleError,
    Record,
    Row,
    Stage,
    other_classes,
)
from shiftsearch.model.calibration import tempered
from shiftsearch.model.classifier import Classifier, Member
from shiftsearch.model.combining import mean_probabilities
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import predict, summarise
from shiftsearch.model.hyperparameters import PreprocessingHyperparameters
from shiftsearch.model.network import Network
from shiftsearch.model.protocol import build, plain
from shiftsearch.model.recorded_network import RecordedNetwork

_LOG = logging.getLogger(__name__)
_STEPS = tuple(PreprocessingHyperparameters.model_fields)

Networks = list[tuple[Network, PreprocessingHyperparameters, float]]
"""Networks in evaluation mode, each with its preprocessing and its share, which sum to 1."""

UNKNOWN_SCALE = (
    "this bundle, of an earlier version, does not record the scale of its images: floats up to 1"
    " were taken as they are, others divided by 255"
)


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, checked.

    Attributes:
        record: the content of `bundle.json`.
        weights: the first network's state before and after fine-tuning.
        further: the states of the other networks of an ensemble, after fine-tuning.
    """

    record: Record[RecordedNetwork]
    weights: Mapping[Stage, Mapping[str, Tensor]]
    further: tuple[Mapping[str, Tensor], ...] = ()

    def classifier(self) -> Classifier:
        """The model as one plain torch module, on the CPU, in evaluation mode.

        It takes raw images on the scale of the training images and gives probabilities. It has
        gradients, and can be traced and exported.
        """
        record = self.record
        of_first = (record.architecture, record.preprocessing, self.weights["after"])
        further = zip(record.members, self.further, strict=True)
        each = [of_first, *((m.architecture, m.preprocessing, state) for m, state in further)]
        members = [
            Member(
                plain(state, a.classes, a.image_size, a, a.dropout),
                record.preprocessing.scale,
                **{name: getattr(how, name) for name in _STEPS},
            )
            for a, how, state in each
        ]
        shares = [m.share for m in record.members]
        return Classifier(members, [1 - sum(shares), *shares], record.temperature).eval()

    def network(self, stage: Stage, device: Device) -> Network:
        """The first network before or after fine-tuning, for our own evaluations, see `build`."""
        a = self.record.architecture
        return build(self.weights[stage], a.classes, a.image_size, device, a, a.dropout)

    def networks(self, stage: Stage, device: Device) -> Networks:
        """All networks that predict together; before fine-tuning, the first one alone."""
        members = self.record.members if stage == "after" else ()
        first = 1 - sum(member.share for member in members)
        steps = PreprocessingHyperparameters.model_validate(
            {name: getattr(self.record.preprocessing, name) for name in _STEPS}
        )
        found = [(self.network(stage, device), steps, first)]
        for member, state in zip(members, self.further, strict=False):
            a = member.architecture
            network = build(state, a.classes, a.image_size, device, a, a.dropout)
            found.append((network, member.preprocessing, member.share))
        return found

    def evaluate(self, dataset: Dataset, device: Device, splits: Sequence[str] = ()) -> list[Row]:
        """Evaluate a dataset before and after fine-tuning, in float32; see `parts`.

        The temperature is not applied: it changes no prediction, and the losses are those of the
        networks.

        Returns:
            Rows of stage, split, part and label, with `Evaluation.to_json`'s fields.

        Raises:
            DataError: the dataset has other classes, another image size or another scale.
            BundleError: a held-out position is not in the dataset.
        """
        self.check_fits(dataset)
        rows = []
        for stage in WEIGHTS:
            networks = self.networks(stage, device)
            for name, part, label, split in self.parts(dataset, stage, splits):
                images, labels = to_device(split, device.torch_device)
                found = together(networks, partial(_changed, images))
                evaluation = summarise(torch.from_numpy(found), labels.cpu())
                place = {"stage": stage, "split": name, "part": part, "label": label}
                rows.append(place | evaluation.to_json())
        return rows

    def check_fits(self, dataset: Dataset) -> None:
        """Refuse a dataset that the model was not made for.

        Raises:
            DataError: it has other classes, another image size or another scale.
        """
        record = self.record
        problems = other_classes(dataset.classes, record.classes)
        if dataset.image_size != record.preprocessing.size:
            problems.append(
                f"image size is {dataset.image_size}, but must be the bundle's:"
                f" {record.preprocessing.size}"
            )
        scale = record.preprocessing.scale
        if scale is None:
            if dataset.scale != "uint8":
                _LOG.warning("warning: %s", UNKNOWN_SCALE)
        elif dataset.scale not in (scale, "uint8"):
            problems.append(f"images are {dataset.scale}, but must be the bundle's: {scale}")
        if problems:
            raise DataError(problems)

    def parts(
        self, dataset: Dataset, stage: Stage, splits: Sequence[str] = ()
    ) -> list[tuple[str, str, str, Split]]:
        """The parts of a dataset to evaluate, each as split, part, label and images.

        The dataset that the bundle was made from is recognised by its digest. Its TEST2 has a
        selection part and, unless nothing was held out, a held-out part. Any other dataset is
        "other data". If the dataset lacks a split, its TEST2 is recognised by itself, but TRAIN
        and TEST are not: they "may be trained on".

        Args:
            dataset: all three splits, or those that are evaluated.
            stage: before or after fine-tuning.
            splits: those to evaluate; none: TEST and TEST2 of the bundle's own dataset, all splits
                of another.
        """
        is_whole = len(dataset.splits) == len(SPLITS)
        is_own = dataset.digest == self.record.dataset_digest
        wanted = splits or (("TEST", "TEST2") if is_own else SPLITS)
        parts = []
        for name in [name for name in SPLITS if name in wanted]:
            split, known = dataset.splits[name], is_own
            if name == "TEST2" and not is_whole:
                known = split.digest() == self.record.division.test2_digest
            if known and name == "TEST2":
                parts += self._divided(split)
            elif known:
                is_trained = name == "TRAIN" or stage == "after"
                parts.append((name, "all", "trained on" if is_trained else "selected on", split))
            else:
                is_other = is_whole or name == "TEST2"
                parts.append(
                    (name, "all", "other data" if is_other else "may be trained on", split)
                )
        return parts

    def _divided(self, test2: Split) -> list[tuple[str, str, str, Split]]:
        """The parts of the TEST2 that the bundle was made from."""
        held_out = np.array(self.record.division.held_out, dtype=np.int64)
        if len(held_out) and held_out.max() >= len(test2):
            raise BundleError(
                [
                    f"{RECORD}: division.held_out has position {held_out.max()}, but TEST2 has"
                    f" {len(test2)} images"
                ]
            )
        selection = np.setdiff1d(np.arange(len(test2)), held_out)
        parts = [("TEST2", "selection", "selected on", test2.take(selection))]
        if len(held_out):
            parts.append(("TEST2", "held-out", "held out", test2.take(held_out)))
        return parts

    def predict_proba(self, images: NDArray[Any], device: Device) -> NDArray[np.float32]:
        """The probability of each class for each image, after fine-tuning, in float32.

        They have the bundle's temperature; those of several networks are averaged before.

        Args:
            images: [N, H, W] of the bundle's image size, uint8 in 0..255 or floating on the scale
                of the training images.
            device: where to compute.

        Returns:
            [N, classes], each row in 0..1 with sum 1, in the order of the bundle's classes.

        Raises:
            DataError: the images have another shape, type or scale.
        """
        how = self.record.preprocessing
        pixels = checked_images(images, how.size, how.scale)
        if not len(pixels):
            return np.empty((0, len(self.record.classes)), np.float32)
        batch = torch.tensor(pixels).unsqueeze(1).to(device.torch_device)
        found = together(self.networks("after", device), partial(_changed, batch))
        return tempered(found, self.record.temperature)


def _changed(images: Tensor, how: PreprocessingHyperparameters) -> Tensor:
    return changed(images, how.apply)


def together(
    networks: Networks, inputs: Callable[[PreprocessingHyperparameters], Tensor]
) -> NDArray[np.float32]:
    """The weighted mean of the probabilities of networks: [N, classes].

    Args:
        networks: from `Bundle.networks`.
        inputs: returns the images with a network's preprocessing, [N, 1, H, W].
    """
    each = [predict(network, inputs(how)).numpy() for network, how, _ in networks]
    return mean_probabilities(each, [share for _, _, share in networks])
