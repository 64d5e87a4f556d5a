"""Sheets of small images as `<img>` with embedded PNG; enlarged by whole factors."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 64
"""Largest side of an image in pixels; larger images are reduced, so that the page stays small."""
_GAP = 3
"""Gap between images in pixels."""


def sheet(images: Sequence[NDArray[Any]], columns: int, side: int, alt: str) -> str:
    """Images in rows, with the page's background between them.

    Args:
        images: at least one; each [H, W] of one size, uint8 in 0..255 or floating in 0..1.
        columns: number of images in a row; the last row may be shorter.
        side: least length of an image's longer side in CSS pixels; images are enlarged to a whole
            multiple of their size.
        alt: the text alternative.
    """
    tiles = [_reduced(_as_bytes(image)) for image in images]
    factor = max(1, -(-side // max(tiles[0].shape)))
    height, width = (factor * n for n in tiles[0].shape)
    rows, columns = -(-len(tiles) // columns), min(columns, len(tiles))
    # Two channels, grey and opacity: between the images the page is visible.
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 2)
    pixels = np.zeros(shape, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + _GAP), i % columns * (width + _GAP)
        place = pixels[top : top + height, left : left + width]
        place[:, :, 0] = tile.repeat(factor, 0).repeat(factor, 1)
        place[:, :, 1] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels, "LA").save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img class="pixels" src="data:image/png;base64,{data}" alt="{escape(alt)}" '
        f'width="{pixels.shape[1]}" height="{pixels.shape[0]}">'
    )


def _as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The image as [H, W] uint8 in 0..255."""
    if image.dtype == np.uint8:
        return image
    scaled: NDArray[np.uint8] = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return scaled


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, reduced if its longer side is above LARGEST."""
    longer = max(image.shape)
    if longer <= LARGEST:
        return image
    height, width = (max(1, round(n * LARGEST / longer)) for n in image.shape)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
