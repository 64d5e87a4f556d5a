"""The analysis of a run's winner: shift of the data, predictions, and changes by fine-tuning.

It is one typed object, which the report and TensorBoard show. It can be made from the run's folder
at any time. It uses only the selection part of TEST2, so it is not a look at the held-out part.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.cache import open_pack
from shiftsearch.data.dataset import SPLITS, DataError, Dataset, Split
from shiftsearch.data.tensors import changed, normalise, to_device
from shiftsearch.experiments.analysis.answers import (
    Predictions,
    predictions_of,
    surest_repair,
)
from shiftsearch.experiments.analysis.inside import (
    FeatureMaps,
    LayerChange,
    block_maps,
    layer_changes,
)
from shiftsearch.experiments.analysis.probes import Probes, probe_layers
from shiftsearch.experiments.analysis.split_summary import (
    Shift,
    SplitSummary,
    shift_between,
    summarise_split,
)
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.device import Device, choose_device
from shiftsearch.model.evaluation import predict
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.network import Network
from shiftsearch.model.prepared import division_of
from shiftsearch.model.protocol import build
from shiftsearch.model.statistics import re_estimate
from shiftsearch.model.unfreezing import always_frozen

MAX_CKA_IMAGES = 1000


@dataclass(frozen=True)
class Analysis:
    """The analysis; the same for the same data, weights and machine.

    Attributes:
        classes: class names.
        splits: TRAIN, TEST and TEST2 (selection part), in that order.
        shifts: TRAIN to TEST, TRAIN to TEST2, TEST to TEST2.
        predictions: predictions on TEST2's selection part.
        feature_maps: feature maps of one of its images.
        layers: changes of the network's layers, then of its head.
        cka_images: number of images that `LayerChange.cka` was computed on.
        probes: what linear classifiers read from each layer.
    """

    classes: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    shifts: tuple[Shift, ...]
    predictions: Predictions
    feature_maps: FeatureMaps
    layers: tuple[LayerChange, ...]
    cka_images: int
    probes: Probes

    def to_json(self) -> dict[str, Any]:
        """The small numbers, as plain JSON values, for `result.json`.

        {"part": "selection", "n", "classes": [..], "counts": [..],
        "per_class": {"before": [share or None..], "after": [..]}, "repaired", "broken",
        "intensity": {split: {"n", "mean", "sd"}}, "shifts": [{first, second, intensity,
        mean_image}..], "layers": [{name, frozen, cka, weight_change, statistics_change}..],
        "cka_images", "probes": {"trained_on", "n", "layers": [{name, before, after, interval}..],
        "suggested": [low, high] or None}}.
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
            "probes": self.probes.to_json(),
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
        dataset: the run's; TEST2 is divided here, and its held-out part is never read.
        protocol: the run's.
        before: the network's state after the baseline.
        after: its state after fine-tuning.
        hyperparameters: the trial's; network, preprocessing, augmentation and frozen layers are
            used.
        device: applied to this process by the caller; the computation is in float32.
    """
    selection = division_of(dataset, protocol).selection
    part = dataset.splits["TEST2"].take(selection)
    preprocessing = hyperparameters.preprocessing
    images = changed(to_device(part, device.torch_device)[0], preprocessing.apply)
    size, architecture = dataset.image_size, hyperparameters.network.architecture
    pair = [build(w, len(dataset.classes), size, device, architecture) for w in (before, after)]
    probabilities = [predict(network, images) for network in pair]
    shown = surest_repair(part, probabilities)
    # Evenly spaced, because the images may be sorted by class.
    few = torch.linspace(0, len(part) - 1, min(len(part), MAX_CKA_IMAGES)).long()
    splits = _summaries(dataset, selection, hyperparameters)
    return Analysis(
        classes=dataset.classes,
        splits=splits,
        shifts=tuple(shift_between(a, b) for a, b in combinations(splits, 2)),
        predictions=predictions_of(part, selection, probabilities),
        feature_maps=FeatureMaps(
            index=int(selection[shown]),
            image=part.images[shown],
            label=int(part.labels[shown]),
            before=int(probabilities[0][shown].argmax()),
            after=int(probabilities[1][shown].argmax()),
            blocks=block_maps(pair, images[shown : shown + 1]),
            preprocessed=normalise(images[shown, 0]).cpu().numpy()
            if preprocessing.content()
            else None,
        ),
        layers=layer_changes(
            pair,
            images[few.to(images.device)],
            always_frozen(
                hyperparameters.fine_tune,
                len(architecture.layer_names),
                protocol.fine_tune.max_epochs,
            ),
        ),
        cka_images=len(few),
        probes=_probes(dataset, part.take(few.numpy()), pair, hyperparameters, device),
    )


def _probes(
    dataset: Dataset,
    part: Split,
    pair: Sequence[Network],
    hyperparameters: Hyperparameters,
    device: Device,
) -> Probes:
    """Probe the layers as the fine-tune would freeze them, on a part of TEST2."""
    change = hyperparameters.preprocessing.apply
    test, selection = (
        (changed(images, change), labels)
        for images, labels in (
            to_device(split, device.torch_device) for split in (dataset.splits["TEST"], part)
        )
    )
    frozen, after = pair
    if hyperparameters.fine_tune.batch_norm != "kept":
        frozen = copy.deepcopy(frozen)
        re_estimate(frozen, None, test[0], device)
    return probe_layers((frozen, after), test, selection, len(dataset.classes))


def analyse_run(run: Run) -> Analysis:
    """Explain the network that a finished run exported, from its folder.

    Sets this process to one thread for tensor operations. With 600 images of 28x28 it takes 1.4 to
    2 s of processor time, two thirds for the probes, and 0.9 s more in a process that has computed
    nothing before.

    Raises:
        NotARun: the run has no dataset or bundle, or they are damaged or of different data.
    """
    try:
        bundle = load_bundle(run.bundle)
        record = bundle.record
        dataset = open_pack(run.pack, record.dataset_digest)
    except (BundleError, DataError) as error:
        raise NotARun(f"{run.folder}: cannot be analysed: {error}") from None
    # 0.6 s; on both cores of a busy machine it took 2.4 s.
    device = choose_device(cpus=1)
    device.apply()
    return analyse(
        dataset,
        record.protocol,
        bundle.weights["before"],
        bundle.weights["after"],
        Hyperparameters.from_flat(record.hyperparameters),
        device,
    )


def _summaries(
    dataset: Dataset, selection: NDArray[np.int64], hyperparameters: Hyperparameters
) -> tuple[SplitSummary, ...]:
    """TRAIN and TEST with the augmentation of their stages, then TEST2's selection part."""
    h, size = hyperparameters, len(dataset.classes)
    stages = {
        "TRAIN": ("baseline", h.baseline.augmentation),
        "TEST": ("fine_tune", h.fine_tune.augmentation),
    }
    parts = {"TEST2": selection}
    return tuple(
        summarise_split(
            name, dataset.splits[name], parts.get(name), size, stages.get(name), h.preprocessing
        )
        for name in SPLITS
    )
