"""Small images, several to a sheet, as `<img>` with the PNG in it, for the page to enlarge.

Each pixel of the sheet is one of the image's; the page draws it as a square of whole pixels.
"""

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
"""Pixels of a side above which an image is reduced, so that the page stays small."""


def sheet(images: Sequence[NDArray[Any]], columns: int, side: int, alt: str) -> str:
    """Images in rows of `columns`, a pixel of background between them.

    Args:
        images: at least one, [H, W] each and of one size: uint8 in 0..255 or floating in 0..1.
        columns: of the sheet; the last row may be shorter.
        side: CSS pixels that an image's longer side gets at least, where that is no more than
            LARGEST; a whole multiple of the image's own.
        alt: what is seen.
    """
    tiles = [_reduced(_as_bytes(image)) for image in images]
    height, width = tiles[0].shape
    gap = 1
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    # Two channels, grey and opacity: between the tiles the page shows through.
    pixels = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 2), np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        pixels[top : top + height, left : left + width, 0] = tile
        pixels[top : top + height, left : left + width, 1] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels, "LA").save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    factor = max(1, -(-side // max(height, width)))
    return (
        f'<img class="pixels" src="data:image/png;base64,{data}" alt="{escape(alt)}" '
        f'width="{factor * pixels.shape[1]}" height="{factor * pixels.shape[0]}">'
    )


def _as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """[H, W] uint8 in 0..255."""
    if image.dtype == np.uint8:
        return image
    scaled: NDArray[np.uint8] = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return scaled


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As it is, or the longer side brought to LARGEST."""
    longer = max(image.shape)
    if longer <= LARGEST:
        return image
    height, width = (max(1, round(n * LARGEST / longer)) for n in image.shape)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
