"""Pictures for TensorBoard, drawn with numpy and Pillow; matplotlib takes 50 times as long.

A matrix has sixteen colours, from paper over blue to ink, for its shades and the edges of letters.
This takes half the bytes of 256 colours, and so less time for TensorBoard's checksum in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""[H, W] uint8 in 0..255 or float32 in 0..1."""

Canvas = NDArray[np.uint8]
"""[H, W] darkness: 0 is paper, `_FULL` is the darkest shade, 255 is ink."""

_STEP = 17
"""Difference between two of the sixteen colours."""
_FULL, _LINE, _FRAME = 11 * _STEP, _STEP, 176
_PAPER, _BLUE, _INK = (255, 255, 255), (11, 83, 148), (8, 16, 32)
_TEXT, _SMALL = 13, 11
_GAP = 8
_COUNTED = 30
"""Largest number of classes for which a confusion matrix has room for its counts."""
_LONGEST = 14
"""Largest number of letters of a class name that is shown."""
_NO_LETTER = "\U0010ffff"
"""A character that no font has."""


@dataclass(frozen=True)
class Tile:
    """An image of a grid.

    Attributes:
        pixels: grey values; 0 is black.
        caption: lines below it.
    """

    pixels: Pixels
    caption: str = ""


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Image.Image:
    """A confusion matrix; rows are true classes, cells are shaded by their fraction of the row.

    Args:
        counts: [classes][classes] counts of images.
        classes: their names.
    """
    size = len(counts)
    cell = 28 if size <= 15 else 20 if size <= _COUNTED else max(3, 600 // size)
    names = [_shortened(name) for name in written(classes)] if size <= _COUNTED else []
    widest = max((_letters(name, _SMALL).shape[1] for name in names), default=0)
    is_upright = widest > cell - 2
    # Room for the names, and next to them for the title of the axis.
    left = widest + 2 * _GAP + _TEXT
    top = (widest if is_upright else _SMALL) + 2 * _GAP + _TEXT
    of_row = np.asarray(counts) / np.maximum(np.sum(counts, axis=1, keepdims=True), 1)
    cells = (
        (np.ceil(of_row * _FULL / _STEP) * _STEP).astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    )
    lines = slice(None, None, cell if cell > 8 else len(cells))
    cells[lines] = cells[:, lines] = cells[-1] = cells[:, -1] = _LINE
    canvas = np.zeros((top + len(cells) + _GAP, left + len(cells) + _GAP), np.uint8)
    canvas[top:-_GAP, left:-_GAP] = cells
    middle = size * cell // 2
    _write(canvas, _letters("predicted", _TEXT), left + middle, _GAP)
    _write(canvas, _upright("true", _TEXT), _GAP, top + middle)
    for i, name in enumerate(names):
        at = i * cell + cell // 2
        across, down = _letters(name, _SMALL), _upright(name, _SMALL)
        _write(canvas, across, left - 4 - across.shape[1] // 2 - 1, top + at)
        above = down if is_upright else across
        _write(canvas, above, left + at, top - 4 - above.shape[0] // 2 - 1)
        for j, count in enumerate(counts[i]):
            if count:
                x, y = left + j * cell + cell // 2, top + at
                _write(canvas, _letters(str(count), _SMALL), x, y, is_light=of_row[i, j] > 0.7)
    return _picture(canvas)


def written(classes: Sequence[str]) -> tuple[str, ...]:
    """The names if the font has all their letters, others as `class 3`, counted from 0.

    Letters that the font lacks, such as Chinese ones, would all look like the same box.
    """
    lacking = _letters(_NO_LETTER, _SMALL)
    return tuple(
        f"class {i}" if any(np.array_equal(_letters(c, _SMALL), lacking) for c in name) else name
        for i, name in enumerate(classes)
    )


def grid(
    rows: Sequence[Sequence[Tile]],
    *,
    row_titles: Sequence[str] = (),
    column_titles: Sequence[str] = (),
    side: int = 56,
) -> Image.Image:
    """A grid of grey images.

    Args:
        rows: rows of tiles; a row may be shorter than others.
        row_titles: one for each row, at its left, or none at all.
        column_titles: one for each column, above it, or none at all.
        side: least side of a tile in pixels; images are enlarged by whole factors.
    """
    tiles = [tile for row in rows for tile in row]
    factor = max(1, -(-side // max(max(tile.pixels.shape) for tile in tiles)))
    height, width = (factor * max(tile.pixels.shape[i] for tile in tiles) for i in (0, 1))
    captions = [line for tile in tiles for line in tile.caption.splitlines()]
    texts = [_letters(line, _SMALL) for line in captions]
    texts += [_letters(title, _TEXT) for title in column_titles]
    across = max([width, *(text.shape[1] for text in texts)]) + _GAP
    lines = max(len(tile.caption.splitlines()) for tile in tiles)
    down = height + lines * (_SMALL + 3) + _GAP
    titles = [_letters(title, _TEXT) for title in row_titles]
    left = max((title.shape[1] + _GAP for title in titles), default=0) + _GAP
    top = _GAP + (_TEXT + _GAP if column_titles else 0)
    columns = max(len(row) for row in rows)
    ink = np.zeros((top + len(rows) * down, left + columns * across), np.uint8)
    middle = (across - _GAP) // 2
    for c, title in enumerate(column_titles):
        _write(ink, _letters(title, _TEXT), left + c * across + middle, top - _TEXT)
    for r, row in enumerate(rows):
        y = top + r * down
        if titles:
            _write(ink, titles[r], _GAP + titles[r].shape[1] // 2, y + height // 2)
        for c, tile in enumerate(row):
            x = left + c * across + middle
            for k, line in enumerate(tile.caption.splitlines()):
                _write(ink, _letters(line, _SMALL), x, y + height + (k + 1) * (_SMALL + 3) - 5)
    canvas = 255 - ink
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            pixels = _grey(tile.pixels).repeat(factor, 0).repeat(factor, 1)
            h, w = pixels.shape
            y, x = top + r * down, left + c * across + middle - w // 2
            canvas[y - 1 : y + h + 1, x - 1 : x + w + 1] = _FRAME
            canvas[y : y + h, x : x + w] = pixels
    return Image.fromarray(canvas)


def _picture(canvas: Canvas) -> Image.Image:
    picture = Image.fromarray(canvas // _STEP)
    picture.putpalette(_palette())
    return picture


@lru_cache(maxsize=1)
def _palette() -> bytes:
    """Sixteen colours: from paper at 0 over blue at `_FULL` to ink at 255."""
    places, colours = (0, _FULL, 255), np.array([_PAPER, _BLUE, _INK])
    ramp = [np.interp(np.arange(0, 256, _STEP), places, colours[:, i]) for i in range(3)]
    return np.stack(ramp, 1).round().astype(np.uint8).tobytes()


def _write(canvas: Canvas, letters: Canvas, x: int, y: int, *, is_light: bool = False) -> None:
    """Write letters with their middle at (x, y), dark or light on dark; cut at the edges."""
    height, width = letters.shape
    top, left = max(0, y - height // 2), max(0, x - width // 2)
    ground = canvas[top : top + height, left : left + width]
    letters = letters[: ground.shape[0], : ground.shape[1]]
    if is_light:
        np.minimum(ground, 255 - letters, out=ground)
    else:
        np.maximum(ground, letters, out=ground)


@lru_cache(maxsize=4096)
def _letters(text: str, size: int) -> Canvas:
    """[height, width] uint8, 255 for ink; all texts of one size have the same height."""
    font = _font(size)
    mask = Image.new("L", (max(1, round(font.getlength(text)) + 1), size + 3), 0)
    ImageDraw.Draw(mask).text((0, (size + 3) / 2), text, 255, font, "lm")
    return np.asarray(mask)


def _upright(text: str, size: int) -> Canvas:
    """The letters turned, to be read from the bottom upwards."""
    return np.rot90(_letters(text, size))


def _grey(pixels: Pixels) -> Canvas:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    scaled: Canvas = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return scaled


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with Matplotlib; Pillow's own font has only ASCII letters."""
    from matplotlib import get_data_path  # late: a tenth of a second

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
