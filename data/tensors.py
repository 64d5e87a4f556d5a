"""Splits as tensors on the device, as stored, and normalised batch by batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from shiftsearch.data.dataset import Split
from shiftsearch.data.scale import Pixels


def to_device(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """A whole split on the device.

    70,000 images of 28x28 are 55 MB as uint8, a quarter of what float32 would take. On the CPU,
    uint8 images of a pack on a local disk are not copied: all processes of a node share its memory
    mapping, which nothing may write to. `normalise` makes new images of them. Others are copied.

    Returns:
        images: [N, 1, H, W] uint8 in 0..255 or float32 in 0..1, as stored.
        labels: [N] int64.
    """
    labels = torch.from_numpy(np.array(split.labels))
    return _tensor(split.images).unsqueeze(1).to(device), labels.to(device)


def _tensor(images: Pixels) -> Tensor:
    if images.dtype != np.uint8 or images.flags.writeable:
        return torch.from_numpy(np.array(images))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images)


def normalise(images: Tensor) -> Tensor:
    """Convert images to float32 in 0..1.

    Args:
        images: [N, 1, H, W] uint8 in 0..255, or float32 in 0..1, which is returned as it is.
    """
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def changed(images: Tensor, change: Callable[[Pixels], Pixels]) -> Tensor:
    """Apply a change of arrays, such as a preprocessing, to images on any device.

    Args:
        images: [N, 1, H, W] uint8 in 0..255 or float32 in 0..1; not changed.
        change: from [N, H, W] arrays to such arrays.

    Returns:
        [N, 1, H, W] on the same device; `images` itself if `change` returned what it was given.
    """
    before = images[:, 0].cpu().numpy()
    after = change(before)
    return images if after is before else torch.from_numpy(after).unsqueeze(1).to(images.device)
