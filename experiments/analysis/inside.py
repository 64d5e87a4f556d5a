"""Changes inside the network by fine-tuning: feature maps of an image, change of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shiftsearch.experiments.analysis.split_summary import Image
from shiftsearch.model.evaluation import BATCH
from shiftsearch.model.network import Network
from shiftsearch.model.representation import (
    layer_features,
    layer_modules,
    layer_names,
    linear_cka,
    relative_change,
)

MAP_CHANNELS = 8


@dataclass(frozen=True)
class BlockMaps:
    """A block's output for one image, after pooling and ReLU, hence >= 0.

    Attributes:
        name: the block's name.
        channels: the MAP_CHANNELS channels with the largest mean after fine-tuning, the largest
            first; the same before and after.
        before, after: [MAP_CHANNELS, H / 2^i, W / 2^i] float32 >= 0, for block i; draw both with
            the same scale.
    """

    name: str
    channels: tuple[int, ...]
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True)
class FeatureMaps:
    """The blocks' outputs for one image of TEST2's selection part.

    Attributes:
        index: position in TEST2.
        image: [H, W] uint8 in 0..255 or float32 in 0..1, as stored.
        label: true class, position in `Analysis.classes`.
        before, after: classes predicted before and after fine-tuning. The image is the repaired
            one with the highest probability after fine-tuning; without a repaired one, the first.
        blocks: maps of the layers whose outputs are maps.
        preprocessed: [H, W] float32 in 0..1, the network's input; None without preprocessing.
    """

    index: int
    image: Image
    label: int
    before: int
    after: int
    blocks: tuple[BlockMaps, ...]
    preprocessed: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class LayerChange:
    """The change of a layer by fine-tuning.

    Attributes:
        name: the layer's name, or "head".
        frozen: whether it was frozen in every epoch of fine-tuning. Then its weights do not
            change, its statistics only if `batch_norm` lets them, and `cka` is 1 if neither its
            nor the layers before it changed.
        cka: linear CKA, 0..1, between the layer's outputs before and after fine-tuning on
            TEST2's selection part; None if an output does not depend on the image.
        weight_change: |after - before| / |before| over all trained parameters together, >= 0;
            None if the baseline's are all 0.
        statistics_change: the same over batch normalisation's running means and variances; None
            for layers without them.
    """

    name: str
    frozen: bool
    cka: float | None
    weight_change: float | None
    statistics_change: float | None


def block_maps(pair: Sequence[Network], image: Tensor) -> tuple[BlockMaps, ...]:
    """Maps of every block for one image, [1, 1, H, W]."""
    found = []
    both = zip(*(layer_features(network, image, BATCH) for network in pair), strict=True)
    for name, features in zip(layer_names(pair[0]), both, strict=True):
        before, after = (f[0].cpu() for f in features)
        if after.dim() != 3:  # no map
            continue
        order = torch.argsort(after.mean(dim=(1, 2)), descending=True, stable=True)
        channels = order[:MAP_CHANNELS]
        maps = [f[channels].contiguous().numpy() for f in (before, after)]
        found.append(BlockMaps(name, tuple(channels.tolist()), *maps))
    return tuple(found)


def layer_changes(
    pair: Sequence[Network], images: Tensor, frozen: Sequence[bool]
) -> tuple[LayerChange, ...]:
    """Changes of every layer, on [n, 1, H, W] images; keeps one layer's features at a time."""
    features = zip(*(layer_features(network, images, BATCH) for network in pair), strict=True)
    alignments = [linear_cka(x, y) for x, y in features]
    modules = zip(*(layer_modules(network) for network in pair), strict=True)
    return tuple(
        LayerChange(
            name=name,
            frozen=frozen[i],
            cka=alignments[i],
            weight_change=relative_change(x.parameters(), y.parameters()),
            statistics_change=relative_change(_statistics(x), _statistics(y)),
        )
        for i, (name, (x, y)) in enumerate(zip(layer_names(pair[0]), modules, strict=True))
    )


def _statistics(layer: nn.Module) -> list[Tensor]:
    """Batch normalisation's running means and variances, without its count of batches."""
    return [buffer for buffer in layer.buffers() if buffer.is_floating_point()]
