"""Read IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/), gzipped or not."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import DataError
from shiftsearch.data.expansion import overlarge
from shiftsearch.data.os_errors import fault_in

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Numpy's names of the types by the third byte of the magic number; values are big-endian."""


def read_idx(path: Path) -> NDArray[Any]:
    """The array of an IDX file, in the type and shape that its header declares; read-only.

    Raises:
        DataError: the file is damaged, or declares more than it holds.
        OSError: the machine is at fault, not the file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            is_zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not is_zipped:
                return _parse(file, size)
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _parse(cast("BinaryIO", unzipped), size)
    except ValueError as error:
        raise DataError([f"{path}: {error}"]) from error
    except Exception as error:  # gzip also raises EOFError and zlib.error
        if isinstance(error, OSError):
            fault_in(path, error)
        raise DataError([f"{path}: cannot be read as an IDX file: {error}"]) from error


def _parse(file: BinaryIO, size: int) -> NDArray[Any]:
    """Read an array; `size` is that of the file on disk, in bytes.

    Raises:
        ValueError: the content is no IDX array, or has another length than it declares.
    """
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not magic[3]:
        raise ValueError(
            f"starts with {magic!r}, but an IDX file starts with two zero bytes, a type"
            " (0x08 to 0x0e) and the number of dimensions"
        )
    sides = file.read(4 * magic[3])
    if len(sides) < 4 * magic[3]:
        raise ValueError("is truncated in its header")
    shape = tuple(int(side) for side in np.frombuffer(sides, ">u4"))
    dtype = np.dtype(TYPES[magic[2]])
    need = math.prod(shape) * dtype.itemsize
    if why := overlarge(need, "bytes", size):
        raise ValueError(f"shape {shape}: {why}")
    content = file.read(need + 1)
    if len(content) != need:
        held = f"{len(content)} bytes" if len(content) < need else "more bytes"
        raise ValueError(f"holds {held}, but shape {shape} of {dtype.name} has {need}")
    return np.frombuffer(content, dtype).reshape(shape)
