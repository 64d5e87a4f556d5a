"""The outputs of frozen layers for a whole split, computed once.

Frozen layers are in evaluation mode: a fixed function of each image. If images are not changed
by augmentation, their output is the same in every epoch. It is computed here in batches of
the caller's size, and kept on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shiftsearch.data.tensors import normalise
from shiftsearch.model.device import Device
from shiftsearch.model.network import Network

MOST_BYTES = 128 * 2**20
"""Outputs of a split that need more bytes are not kept, but computed again in every epoch. On a
GPU four times as many are kept: on a CPU the workers share the machine's memory."""


class FrozenPrefix:
    """The first `count` layers of a network in training, and their outputs on whole splits."""

    def __init__(self, network: Network, count: int, device: Device) -> None:
        self.network, self.count, self.device = network, count, device
        self._kept: dict[tuple[int, int], Tensor | None] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """The output for [N, 1, H, W] float32 images; without layers, the images themselves."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.network.begin(images, self.count)

    def outputs(self, images: Tensor, batch_size: int) -> Outputs | None:
        """The outputs for all images of a split, or None if they are not kept.

        Args:
            images: [N, 1, H, W] uint8 or float32; must live as long as this object.
            batch_size: images that are computed at a time. In float32, a kernel may round in
                another way in a batch of another size: the convolutions do in batches of 1 image,
                the dense layer in batches of up to 3 on one processor and of 14 on another. So a
                last batch that is smaller than the others is only equal up to rounding to one not
                kept.
        """
        key = (images.data_ptr(), batch_size)
        if key not in self._kept:
            self._kept[key] = self._compute(images, batch_size)
        kept = self._kept[key]
        return None if kept is None else Outputs(kept)

    @torch.no_grad()
    def _compute(self, images: Tensor, batch_size: int) -> Tensor | None:
        if self.count == 0:
            return None
        most = MOST_BYTES * (4 if self.device.name == "cuda" else 1)
        kept = None
        for first in range(0, len(images), batch_size):
            # The last batch is filled up from before it: in training it holds any images.
            first = max(0, min(first, len(images) - batch_size))
            batch = images[first : first + batch_size]
            with self.device.autocast():
                output = self(normalise(batch))
            # Channels innermost, so that a batch of rows lies in memory as the network wants it.
            rows = output.permute(0, 2, 3, 1) if output.dim() == 4 else output
            if kept is None:
                if rows[0].numel() * rows.element_size() * len(images) > most:
                    return None
                kept = rows.new_empty((len(images), *rows.shape[1:]))
            kept[first : first + len(batch)] = rows
        return kept


class Outputs:
    """Kept outputs; indexing gives them in the form that the network's next layer takes."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows

    def __getitem__(self, indices: Tensor | slice) -> Tensor:
        """[n, C, H, W] in channels_last, or [n, features] after a dense layer."""
        taken = self._rows[indices]
        return taken.permute(0, 3, 1, 2) if taken.dim() == 4 else taken
