"""Splits as tensors: copied, kept as stored, normalised to 0..1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftsearch.data.dataset import Split
from shiftsearch.data.tensors import normalise, to_device

pytestmark = pytest.mark.unit
CPU = torch.device("cpu")


def test_uint8_stays_uint8_until_normalised() -> None:
    stored = np.arange(2 * 16 * 16, dtype=np.uint16).reshape(2, 16, 16).astype(np.uint8)
    images, labels = to_device(Split(stored, np.array([1, 0])), CPU)
    assert images.shape == (2, 1, 16, 16)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [1, 0]
    assert labels.dtype == torch.int64
    normalised = normalise(images)
    assert normalised.dtype == torch.float32
    assert torch.equal(normalised[:, 0], torch.from_numpy(stored.astype(np.float32) / 255))


def test_float_images_are_kept_and_never_alias_the_pack() -> None:
    stored = np.full((1, 16, 16), 0.25, dtype=np.float32)
    stored.setflags(write=False)
    images, _ = to_device(Split(stored, np.array([0])), CPU)
    assert normalise(images) is images
    images.zero_()
    assert stored.min() == 0.25
