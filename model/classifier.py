"""A whole classifier as one torch module: raw images in, probabilities out.

This module needs torch alone. It is copied into every bundle, beside `load.py`, and it is what is
exported to other formats. Its steps are the twins of those in `data.preprocessing` and
`data.equalisation`, which say where they come from. They give the same values up to rounding in
float64. Another step is a function and its entry in `POLARITIES`, `CENTRES` or `INTENSITIES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

Step = Callable[[Tensor, bool], Tensor]
"""From [N, H, W] float64 to such images. The second argument says whether values are whole numbers
in 0..255; otherwise they are in 0..1. A step of `INTENSITIES` always returns 0..1."""

DEVIATIONS, LEAST_DEVIATION, PERCENTILES, FAINT = 4, 1 / 255, (0.01, 0.99), 1 / 4
LEVELS, SLOPE, TILE, MOST_TILES = 256, 3.0, 14, 8


class Classifier(nn.Module):
    """Networks with their preprocessing; probabilities are their weighted mean.

    Args:
        members: each from raw images to logits.
        shares: weights of the members in the mean, above 0 with sum 1; empty: all are equal.
        temperature: the logarithms of the mean are divided by it, above 0. For one network that
            is the same as dividing its logits.
    """

    def __init__(
        self, members: Sequence[Member], shares: Sequence[float] = (), temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.logs = [math.log(share) for share in shares or [1 / len(members)] * len(members)]
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Raw [N, H, W], see `prepared`, to [N, classes] float32 probabilities with sum 1."""
        found = [
            torch.log_softmax(each(images), 1) + log
            for each, log in zip(self.members, self.logs, strict=True)
        ]
        mean = found[0] if len(found) == 1 else torch.stack(found).logsumexp(0)
        return torch.softmax(mean / self.temperature, 1)


class Member(nn.Module):
    """One network with its preprocessing.

    Args:
        network: [N, 1, H, W] float32 in 0..1 to [N, classes] logits.
        scale, polarity, centre, intensity: see `prepared`.
    """

    def __init__(self, network: nn.Module, scale: str | None = None, **steps: str) -> None:
        super().__init__()
        self.network = network
        self.scale, self.steps = scale, steps

    def forward(self, images: Tensor) -> Tensor:
        """Raw [N, H, W] to [N, classes] logits, without temperature."""
        logits: Tensor = self.network(prepared(images, self.scale, **self.steps)[:, None])
        return logits


def prepared(
    images: Tensor,
    scale: str | None = None,
    polarity: str = "none",
    centre: str = "none",
    intensity: str = "none",
) -> Tensor:
    """Raw images as a network takes them: [N, H, W] to float32 in 0..1.

    Args:
        images: uint8 in 0..255, or floating on the scale of the training images.
        scale: "float 0..255" if floats are in 0..255; otherwise they are in 0..1.
        polarity, centre, intensity: steps of the preprocessing, by name.

    Raises:
        KeyError: a step has no twin here.
    """
    whole = images.dtype == torch.uint8
    if not whole:
        images = (images.float() / 255 if scale == "float 0..255" else images.float()).clamp(0, 1)
    first = [step for step in (POLARITIES[polarity], CENTRES[centre]) if step is not None]
    last = INTENSITIES[intensity]
    if first or last is not None:
        images = images.double()
    for step in first:
        images = step(images, whole)
    if last is not None:
        return last(images, whole).clamp(0, 1).float()
    return images.float() / 255 if whole else images.float()


def background(images: Tensor) -> Tensor:
    """The median of each image's border: [N, H, W] to [N]."""
    edges = (images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1])
    border = torch.cat(edges, 1).sort(1).values
    count = border.shape[1]
    return (border[:, (count - 1) // 2] + border[:, count // 2]) / 2


def bright_on_dark(images: Tensor, whole: bool) -> Tensor:
    """Invert the images whose background is above their mean."""
    inverted = 255 - images if whole else (1 - images).float().double()
    is_bright_outside = background(images) > images.flatten(1).mean(1)
    return torch.where(is_bright_outside[:, None, None], inverted, images)


def centred(images: Tensor, whole: bool) -> Tensor:
    """Shift each image by whole pixels so that its centre of mass is central."""
    _, height, width = images.shape
    outside = background(images)
    mass = (images - outside[:, None, None]).abs()
    mass = torch.where(mass < FAINT * mass.amax((1, 2), keepdim=True), 0.0, mass)
    total = mass.sum((1, 2))
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    y = rows + _offset((mass.sum(2) * rows).sum(1), total, height)
    x = columns + _offset((mass.sum(1) * columns).sum(1), total, width)
    moved = images.gather(1, y.clamp(0, height - 1)[:, :, None].expand_as(images))
    moved = moved.gather(2, x.clamp(0, width - 1)[:, None, :].expand_as(images))
    is_inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    filling = outside.round() if whole else outside.float().double()
    return torch.where(is_inside, moved, filling[:, None, None])


def _offset(moment: Tensor, total: Tensor, side: int) -> Tensor:
    """The centre of mass along a side, in whole pixels from the middle: [N, 1]."""
    some = torch.where(total > 0, total, 1.0)
    return torch.where(total > 0, moment / some - (side - 1) / 2, 0.0).round().long()[:, None]


def standardised(images: Tensor, whole: bool) -> Tensor:
    """Give each image the same mean and standard deviation."""
    x = images / 255 if whole else images
    x = x - x.mean((1, 2), keepdim=True)
    deviation = x.square().mean((1, 2), keepdim=True).sqrt()
    return x / (2 * DEVIATIONS * deviation.clamp(min=LEAST_DEVIATION)) + 0.5


def stretched(images: Tensor, whole: bool) -> Tensor:
    """Stretch each image between its percentiles."""
    x = (images / 255 if whole else images).flatten(1)
    in_order = x.sort(1).values
    low, high = (_quantile(in_order, q) for q in PERCENTILES)
    is_flat = high <= low
    low = torch.where(is_flat, in_order[:, :1], low)
    high = torch.where(is_flat, in_order[:, -1:], high)
    is_single = high <= low
    low = torch.where(is_single, 0.0, low)
    width = torch.where(is_single, 1.0, high - low)
    return ((x - low) / width).reshape(images.shape)


def _quantile(in_order: Tensor, q: float) -> Tensor:
    """The quantile of each row by linear interpolation: [N, K] ascending to [N, 1]."""
    place = q * (in_order.shape[1] - 1)
    at = min(int(place), in_order.shape[1] - 2)
    before, after = in_order[:, at : at + 1], in_order[:, at + 1 : at + 2]
    return before + (after - before) * (place - at)


def equalised(images: Tensor, whole: bool) -> Tensor:
    """Equalise the histogram of each part of each image (CLAHE)."""
    n, *sides = images.shape
    codes = (images if whole else (images.float() * (LEVELS - 1)).round()).long()
    (rows, high), (columns, wide) = (_tiles(side) for side in sides)
    padded = codes
    for axis, (side, full) in enumerate(zip(sides, (rows * high, columns * wide), strict=True), 1):
        mirrored = [*range(side), *range(side - 1, 2 * side - full - 1, -1)]
        padded = padded.index_select(axis, torch.tensor(mirrored, device=images.device))
    split = padded.reshape(n, rows, high, columns, wide).transpose(2, 3)
    split = split.reshape(n, rows * columns, high * wide)
    counts = images.new_zeros(n, rows * columns, LEVELS)
    counts = counts.scatter_add(2, split, torch.ones_like(split, dtype=counts.dtype))
    limit = max(1.0, SLOPE * high * wide / LEVELS)
    excess = (counts - limit).clamp(min=0).sum(2, keepdim=True)
    maps = (counts.clamp(max=limit) + excess / LEVELS).cumsum(2) / (high * wide)
    total = torch.zeros_like(images)
    for row, row_weight in _neighbours(sides[0], rows, high, images):
        for column, column_weight in _neighbours(sides[1], columns, wide, images):
            tile = row[:, None] * columns + column
            found = maps.flatten(1).gather(1, (tile * LEVELS + codes).flatten(1))
            total = total + row_weight[:, None] * column_weight * found.reshape(images.shape)
    return total


def _tiles(side: int) -> tuple[int, int]:
    """The number of tiles along a side, and the side of a tile."""
    count = max(1, min(MOST_TILES, side // TILE))
    return count, -(-side // count)


def _neighbours(side: int, tiles: int, size: int, like: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each place along a side, the tiles before and after it, each with its weight."""
    places = torch.arange(side, dtype=torch.float64, device=like.device)
    place = ((places + 0.5) / size - 0.5).clamp(0, tiles - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=tiles - 1)
    return [(before, 1 - (place - before)), (after, place - before)]


POLARITIES: Mapping[str, Step | None] = {"none": None, "bright_on_dark": bright_on_dark}
CENTRES: Mapping[str, Step | None] = {"none": None, "mass": centred}
INTENSITIES: Mapping[str, Step | None] = {
    "none": None,
    "standardise": standardised,
    "equalise": equalised,
    "stretch": stretched,
}
