"""How fast this machine trains the reference network on some images."""

from __future__ import annotations

import tempfile

import numpy as np

from shiftsearch.data.dataset import Dataset
from shiftsearch.model.device import Device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store

IMAGES = 512
"""Images that are trained on, at most; of each other split as many are read."""


def images_per_second(dataset: Dataset, device: Device) -> float:
    """Images per second of training, in the second of two epochs on a few images.

    The first epoch compiles kernels. It takes a few seconds.
    """
    few = Dataset(
        dataset.classes,
        {
            name: split.take(np.linspace(0, len(split) - 1, min(len(split), IMAGES)).astype(int))
            for name, split in dataset.splits.items()
        },
        scale=dataset.scale,
    )
    two, one = Schedule(max_epochs=2), Schedule(max_epochs=1)
    protocol = Protocol(baseline=two, fine_tune=one, holdout=0)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(few, protocol, device)
        run = ProtocolRun(Hyperparameters(), data, protocol, open_store(folder), device, seed=0)
        result = run_protocol(run)
    return float(result.baseline.result.history[-1]["images_per_second"])
