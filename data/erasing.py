"""Random erasing: a rectangle of an image is replaced by noise.

Source: Zhong et al. 2020, arXiv 1708.04896, algorithm 1 with its random values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

AREA = (0.02, 0.4)
"""Smallest and largest fraction of the image that is erased, drawn uniformly."""
ASPECT = (0.3, 1 / 0.3)
"""Smallest and largest height of the rectangle by its width, drawn log-uniformly."""


def erased(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Erase a rectangle in some of the images.

    A rectangle that is higher or wider than the image is cut to its side; the paper draws again.

    Args:
        images: [N, 1, H, W] float32 in 0..1; not changed.
        probability: of each image, in 0..1.
        generator: draws all random numbers; on the device of `images`.

    Returns:
        [N, 1, H, W] float32 in 0..1.
    """
    import torch  # a module of hyperparameters imports this one, and must not import torch

    n, _, height, width = images.shape
    draws = torch.rand(5, n, 1, generator=generator, device=images.device)
    chance, area, aspect, top, left = draws
    pixels = (AREA[0] + area * (AREA[1] - AREA[0])) * height * width
    ratio = torch.exp(math.log(ASPECT[0]) + aspect * math.log(ASPECT[1] / ASPECT[0]))
    rows = _inside((pixels * ratio).sqrt(), top, height)
    columns = _inside((pixels / ratio).sqrt(), left, width)
    mask = (rows[:, :, None] & columns[:, None, :])[:, None] & (chance < probability)[
        ..., None, None
    ]
    noise = torch.rand(images.shape, generator=generator, device=images.device)
    return torch.where(mask, noise, images)


def _inside(length: Tensor, place: Tensor, side: int) -> Tensor:
    """Which of `side` pixels an interval covers: lengths and places (0..1) [N, 1] to [N, side]."""
    import torch

    length = length.clamp(max=side)
    start = place * (side - length)
    centres = torch.arange(side, device=length.device) + 0.5
    return (centres >= start) & (centres < start + length)
