"""Batches with a fixed share of images from TRAIN, besides the images of TEST."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def from_train_per_batch(batch_size: int, train_share: float) -> int:
    """TRAIN's images in a whole batch: the share, rounded, and at least one image is TEST's.

    Args:
        batch_size: at least 2.
        train_share: in 0..1.
    """
    return min(batch_size - 1, round(train_share * batch_size))


def composed_order(
    test: Tensor, train: Callable[[], Tensor], batch_size: int, from_train: int
) -> Tensor:
    """The images of an epoch: one pass over TEST, each batch filled up with images of TRAIN.

    Every batch has the same share of both, the last, smaller one as nearly as its size allows.
    TRAIN's images are drawn in passes, too: an image comes again only after all others. An epoch
    begins a new pass.

    Args:
        test: [n] int64 positions of TEST's images, in order.
        train: draws one pass: [m] int64 positions of TRAIN's images, m >= 1.
        batch_size: images of a whole batch.
        from_train: how many of them are TRAIN's, in 0..batch_size - 1.

    Returns:
        [k] int64 positions; each `batch_size` of them are a batch.
    """
    from_test = batch_size - from_train
    parts = torch.split(test, from_test)
    counts = [int(len(part) * from_train / from_test + 0.5) for part in parts]
    drawn = [train()] if sum(counts) else []
    while sum(map(len, drawn)) < sum(counts):
        drawn.append(train())
    fill = torch.split(torch.cat([test[:0], *drawn])[: sum(counts)], counts)
    return torch.cat([piece for pair in zip(parts, fill, strict=True) for piece in pair])
