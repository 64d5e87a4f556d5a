"""Batch statistics of a network, re-estimated on a set of images.

Sources: Li et al. 2016 (AdaBN), arXiv 1603.04779, section 3.2, which does so for a new domain;
Izmailov et al. 2018, arXiv 1803.05407, section 3.2, which does so for averaged weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from shiftsearch.data.tensors import normalise
from shiftsearch.model.device import Device
from shiftsearch.model.network import Network

BATCH = 512


@torch.no_grad()
def re_estimate(
    network: Network, chosen: Sequence[bool] | None, images: Tensor, device: Device
) -> None:
    """Replace running statistics by the means of the batches' statistics, in one pass over images.

    The chosen layers normalise by batch meanwhile, the others by their running statistics. No
    image is augmented, and each is used once. The result depends on nothing but the arguments.

    Args:
        network: on the device; its running statistics are changed, and it is left in evaluation
            mode.
        chosen: whether each of `network.layers`, then the head, gets new statistics; None: all.
        images: [N, 1, H, W] uint8 or float32, N >= 2, on the device.
        device: dtype of the pass.
    """
    network.eval()
    depth = 0
    found: list[_BatchNorm] = []
    layers = (*network.layers, network.head)
    if chosen is None:
        chosen = [True] * len(layers)
    for i, (layer, is_chosen) in enumerate(zip(layers, chosen, strict=True), start=1):
        own = [m for m in layer.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        if is_chosen and own:
            depth, found = i, [*found, *own]
    momenta = [module.momentum for module in found]
    for module in found:
        module.reset_running_stats()
        module.train()
    parts = -(-len(images) // BATCH) if found else 0
    seen = 0
    for first in range(parts):
        # Every so many images, because they may be sorted by class.
        batch = normalise(images[first::parts]).contiguous(memory_format=torch.channels_last)
        seen += len(batch)
        for module in found:
            # The mean so far takes in the batch by its share of the images. Torch's own cumulative
            # average, without a momentum, is not for the fused kernels.
            module.momentum = len(batch) / seen
        with device.autocast():
            features = network.begin(batch, depth)
            if depth == len(layers):
                network.finish(features, depth)
    for module, momentum in zip(found, momenta, strict=True):
        module.momentum = momentum
        module.eval()
