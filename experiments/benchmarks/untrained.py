"""Networks that were never trained, and bundles of them, for what only reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftsearch.data.dataset import Dataset
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Value
from shiftsearch.model.network import allocate, initialise


def random_weights(
    seed: int, classes: int, image_size: tuple[int, int], values: Mapping[str, Value] = {}
) -> dict[str, Tensor]:
    """Weights as they are before a training.

    Args:
        seed: of the drawn weights.
        classes: number of outputs.
        image_size: height and width in pixels.
        values: hyperparameters other than the reference's; those of the network count.
    """
    architecture = Hyperparameters.from_flat(values).network.architecture
    network = allocate(classes, image_size, architecture=architecture)
    initialise(network, torch.Generator().manual_seed(seed))
    return network.state_dict()


def save_untrained(
    folder: Path, dataset: Dataset, values: Mapping[str, Value] = {}, **more: Any
) -> Path:
    """Save a bundle whose network has the same random weights before and after fine-tuning.

    Args:
        folder: see `save_bundle`.
        dataset: see `save_bundle`.
        values: hyperparameters other than the reference's.
        more: further arguments of `save_bundle`.

    Returns:
        `folder`.
    """
    weights = random_weights(1, len(dataset.classes), dataset.image_size, values)
    save_bundle(
        folder,
        weights=weights,
        baseline_weights=weights,
        dataset=dataset,
        hyperparameters=Hyperparameters.from_flat(values),
        protocol=Protocol(),
        metrics=[],
        versions={},
        seed=0,
        number=0,
        replicate=0,
        **more,
    )
    return folder
