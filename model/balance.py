"""Balancing classes of different size, by drawing images or by weighting their loss.

Sources: Buda et al. 2018, arXiv 1710.05381 (oversampling); King and Zeng 2001,
doi 10.1093/oxfordjournals.pan.a004868, section 4.2 (weights).
"""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Positions of images in random order, the same number of each class.

    All together are as many as the images, rounded up to a multiple of the classes. An image is
    drawn again only after all others of its class; a large class is not drawn whole.

    Args:
        labels: [N] int64 on the CPU; classes without an image do not count.
        generator: a CPU generator.

    Returns:
        [M] int64 positions in 0..N - 1.
    """
    classes = labels.bincount().nonzero().flatten()
    each = -(-len(labels) // len(classes))
    drawn: list[Tensor] = []
    for label in classes:
        places = (labels == label).nonzero().flatten()
        rounds = -(-each // len(places))
        order = [torch.randperm(len(places), generator=generator) for _ in range(rounds)]
        drawn.append(places[torch.cat(order)[:each]])
    together = torch.cat(drawn)
    return together[torch.randperm(len(together), generator=generator)]


def balanced_weights(labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weights with which every class counts as much.

    Args:
        labels: [N] int64.
        weights: [N] float32 >= 0, the images' own; within a class they keep their ratios. A class
            whose weights are all 0 does not count. None: all images weigh the same.

    Returns:
        [N] float32, mean 1.
    """
    if weights is None:
        counts = labels.bincount()
        present = (counts > 0).sum()
        return (len(labels) / (present * counts[labels])).float()
    own = weights.double()
    sums = labels.bincount(own)
    whole = torch.where(sums > 0, sums, 1.0)[labels]
    return (len(labels) / (sums > 0).sum() * own / whole).float()
