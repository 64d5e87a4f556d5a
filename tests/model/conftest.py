"""A dataset small enough that a stage of several epochs takes a fraction of a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.dataset import SPLITS, Dataset, Split
from shiftsearch.model.device import Device
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.prepared import ProtocolData, prepare
from shiftsearch.model.store import Store, open_store


@pytest.fixture(scope="session", autouse=True)
def device() -> Device:
    """One thread of the CPU in float32."""
    device = Device("cpu", "float32", 1, "tests")
    device.apply()
    return device


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    """Three classes of 16x16 noise with a bright bar each; TRAIN 41, TEST 30, TEST2 30 images."""
    splits = {}
    for name, count, contrast in zip(SPLITS, (41, 30, 30), (90, 60, -60), strict=True):
        rng = np.random.default_rng(100 + contrast)
        labels = np.arange(count) % 3
        images = rng.normal(128, 30, (count, 16, 16))
        for image, label in zip(images, labels, strict=True):
            image[4 * label + 2 : 4 * label + 5] += contrast
        splits[name] = Split(np.clip(images, 0, 255).astype(np.uint8), labels)
        splits[name].images.flags.writeable = False
        splits[name].labels.flags.writeable = False
    return Dataset(("left", "middle", "right"), splits)


@pytest.fixture(scope="session")
def small_data(small_dataset: Dataset, device: Device) -> ProtocolData:
    """`small_dataset`, half of TEST2 held out, as tensors."""
    return prepare(small_dataset, Protocol(), device)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")
