"""A network of your own: two convolutions, a mean over places, and a head.

shiftsearch search own_network.yaml --data DIR        # in this folder
shiftsearch predict runs/own_network/best FILE... --network small_network:build
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

WIDTH = 16


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """[N, inputs, H, W] to [N, outputs, H // 2, W // 2]."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
        nn.MaxPool2d(2),
    )


def build(classes: int, image_size: tuple[int, int]) -> nn.Module:
    """Named layers in order, each of which can be frozen; the last one is the head.

    Args:
        classes: number of outputs.
        image_size: (H, W) in pixels; any, because of the mean over places.
    """
    del image_size
    mean = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(
        OrderedDict(
            first=convolution(1, WIDTH),
            second=nn.Sequential(*convolution(WIDTH, 2 * WIDTH), *mean),
            head=nn.Linear(2 * WIDTH, classes),
        )
    )
