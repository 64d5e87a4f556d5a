"""The size of a network: its parameters, and the work of one image. Nothing is trained for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from shiftsearch.model.architecture import Architecture
from shiftsearch.model.network import allocate


@dataclass(frozen=True)
class NetworkSize:
    """The size of a network.

    Attributes:
        parameters: trainable numbers of all layers, the head's included. The running means and
            variances of batch normalisation are not trained and do not count.
        multiply_adds: multiplications, each with an addition, of the convolutions and dense layers
            (`nn.Conv2d`, `nn.Linear`) for one image; all other operations, biases too, are left
            out.
    """

    parameters: int
    multiply_adds: int


@lru_cache(maxsize=256)
@torch.inference_mode()
def network_size(
    architecture: Architecture, classes: int, image_size: tuple[int, int]
) -> NetworkSize:
    """The size of an architecture's network, counted while it computes one image.

    It takes a few ms, and nothing when asked again. `torch.utils.flop_counter` gives the same
    numbers, but its first use in a process takes 4 s.

    Args:
        architecture: the layers before the head.
        classes: outputs of the head.
        image_size: (H, W) in pixels, each at least the architecture's `least_side`.

    Raises:
        ValueError: the images are too small for the architecture.
    """
    network = allocate(classes, image_size, 0.0, architecture).eval()
    counts: list[int] = []

    def count(module: Any, inputs: Any, output: Tensor) -> None:
        """A hook: each output of a convolution or dense layer is a sum over one row of weights."""
        del inputs
        counts.append(output.numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(torch.zeros(1, 1, *image_size))
    return NetworkSize(sum(p.numel() for p in network.parameters()), sum(counts))
