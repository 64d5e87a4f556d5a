"""Splits as tensors: kept as stored, shared or copied, normalised to 0..1."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from shiftsearch.data import cache
from shiftsearch.data.cache import open_pack, save_pack
from shiftsearch.data.dataset import Dataset, Split
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


def test_uint8_images_of_a_pack_are_shared_and_others_copied(tmp_path: Path) -> None:
    """A worker needs no memory of its own for the images of a memory-mapped pack."""
    np.save(tmp_path / "images.npy", np.zeros((3, 16, 16), np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of memory that must not be written to
        images, _ = to_device(Split(mapped, np.zeros(3, np.int64)), CPU)
    assert images.data_ptr() == mapped.ctypes.data
    normalise(images).add_(1)
    assert not mapped.any()
    own = np.zeros((3, 16, 16), np.uint8)
    images, _ = to_device(Split(own, np.zeros(3, np.int64)), CPU)
    images.add_(1)
    assert not own.any()


@pytest.mark.parametrize("local", [True, False])
def test_a_pack_is_shared_only_on_a_local_disk(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    """A page that a network does not give would end the training with SIGBUS."""
    save_pack(tiny_dataset, tmp_path / "pack")
    monkeypatch.setattr(cache, "is_local", lambda folder: local)
    for split in open_pack(tmp_path / "pack").splits.values():
        images, _ = to_device(split, CPU)
        assert (images.data_ptr() == split.images.ctypes.data) is local
        assert split.images.flags.writeable is not local
        assert np.array_equal(images[:, 0].numpy(), split.images)
