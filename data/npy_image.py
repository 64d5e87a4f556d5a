"""Read one image from a .npy file, or say why that fails; nothing is unpickled."""

from __future__ import annotations

import functools
import io
import math
from typing import Any, Literal, NamedTuple

import numpy as np

from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.scale import Pixels, impossible

MIN_SIDE = 16


class Image(NamedTuple):
    """The image that one file holds."""

    pixels: Pixels  # [H, W]
    dtype: str  # of the file
    lowest: float  # of float pixels; 0 for uint8
    highest: float


def read_file(path: str, least: int = MIN_SIDE) -> Image | str:
    """The image in a .npy file, or a line that says what is wrong with the file.

    Args:
        path: the file. No more is read than its own size, whatever its header declares.
        least: least height and width, pixels.

    Raises:
        OSError: the machine is at fault, not the file.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - 5 us less a file
            return _parse(file.read(), least)
    except OSError as error:
        return f"{path}: cannot be read: {fault_in(path, error)}"
    except ValueError as error:
        return f"{path}: {error}"


def _parse(raw: bytes, least: int) -> Image:
    """Check the bytes of a .npy file and view them as one image.

    Raises:
        ValueError: they hold no image; the message names value and rule.
    """
    if not raw.startswith(np.lib.format.MAGIC_PREFIX):
        what = f"starts with {raw[:6]!r}" if raw else "has zero bytes"
        raise ValueError(f"{what}, but must be a .npy file")
    start = header_length(raw)
    dtype, shape, order = _image_header(raw[:start], least)
    need = start + math.prod(shape) * dtype.itemsize
    if len(raw) < need:
        raise ValueError(f"is truncated: has {len(raw)} bytes, but its header asks for {need}")
    stored = np.frombuffer(raw, dtype, math.prod(shape), start).reshape(shape, order=order)
    pixels = stored.reshape(_sides(shape))
    if dtype == np.uint8:
        return Image(pixels, dtype.name, 0.0, 0.0)
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        bad = int(np.count_nonzero(~np.isfinite(pixels)))
        raise ValueError(f"holds {bad} values that are NaN or infinite, but all must be finite")
    if impossible(lowest, highest):
        raise ValueError(
            f"values in {lowest:g}..{highest:g}, but floats must be in 0..1 or in 0..255"
        )
    return Image(pixels.astype(np.float32), dtype.name, lowest, highest)


def header_length(raw: bytes) -> int:
    """Bytes of a .npy header, its first 12 bytes at least being given."""
    length_size = 2 if raw[6:7] == b"\x01" else 4
    return 8 + length_size + int.from_bytes(raw[8 : 8 + length_size], "little")


def parse_header(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"]]:
    """Dtype, shape and order ("C" or "F") of a .npy header, whatever the array holds.

    Raises:
        ValueError: the header is damaged, or the array holds Python objects.
    """
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f".npy version {version}, but must be (1, 0) or (2, 0)")
    try:
        shape, is_fortran, dtype = readers[version](stream)
    except Exception as error:  # damage also shows as SyntaxError or tokenize.TokenError
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"has a damaged header: {reason}") from error
    if dtype.hasobject:
        raise ValueError("holds Python objects, which are never loaded")
    if any(type(side) is not int or side < 0 for side in shape):  # numpy lets booleans through
        raise ValueError(f"shape {shape}, but each side must be a whole number of at least 0")
    return dtype, shape, "F" if is_fortran else "C"


@functools.lru_cache(maxsize=64)
def _image_header(
    header: bytes, least: int
) -> tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"]]:
    """The header of an image; files of one kind share its bytes.

    Raises:
        ValueError: the header is damaged, or its array is no image.
    """
    dtype, shape, order = parse_header(header)
    if not is_image_dtype(dtype):
        raise ValueError(f"holds {dtype.name}, but must hold uint8, float16, float32 or float64")
    sides = _sides(shape)
    if len(sides) != 2:
        raise ValueError(f"shape {shape}, but must be (H, W), (H, W, 1) or (1, H, W)")
    if min(sides) < least:
        raise ValueError(f"size {sides}, but height and width must be at least {least}")
    return dtype, shape, order


def is_image_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether pixels may have this type: uint8, or float16 to float64 in either byte order."""
    return dtype == np.uint8 or dtype.newbyteorder("=") in (np.float16, np.float32, np.float64)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without a channel of one, at the front or at the end."""
    sides = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    return sides[:-1] if len(sides) == 3 and sides[-1] == 1 else sides
