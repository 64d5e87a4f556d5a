"""Read arrays of an .npz archive, as `numpy.savez` and `savez_compressed` write it.

`numpy.load` takes the memory that a member's header declares before it reads the member. Here
the header is checked first. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import DataError
from shiftsearch.data.expansion import overlarge
from shiftsearch.data.npy_image import header_length, parse_header
from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.problems import named

_LONGEST_HEADER = 10_000
"""Bytes; numpy refuses longer ones too."""


def read_npz(path: Path, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """The arrays of these names; others are left alone.

    Raises:
        DataError: with a line for each array that is missing or damaged, holds Python objects, or
            declares more than `data.expansion` allows.
        OSError: the machine is at fault, not the file.
    """
    problems, arrays = [], {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for name in names:
                info = members.get(f"{name}.npy")
                if info is None:
                    held = named([m.removesuffix(".npy") for m in members]) or "nothing"
                    problems.append(f"{path}: has no array {name!r}; it holds {held}")
                    continue
                try:
                    arrays[name] = _read(archive, info)
                except ValueError as error:
                    problems.append(f"{path}: {name}: {error}")
    except Exception as error:  # zipfile also raises struct.error, EOFError and others
        if isinstance(error, OSError):
            fault_in(path, error)
        raise DataError([f"{path}: cannot be read as an .npz file: {error}"]) from error
    if problems:
        raise DataError(problems)
    return arrays


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array; read-only.

    Raises:
        ValueError: its header or its length is wrong.
    """
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compression {info.compress_type}, but must be none or deflate")
    with archive.open(info) as member:
        header = member.read(12)
        if not header.startswith(np.lib.format.MAGIC_PREFIX):
            raise ValueError(f"starts with {header[:6]!r}, but must be a .npy array")
        length = header_length(header)
        if length > _LONGEST_HEADER:
            raise ValueError(f"header of {length} bytes, but {_LONGEST_HEADER} is the most")
        header += member.read(length - len(header))
        dtype, shape, order = parse_header(header)
        need = math.prod(shape) * dtype.itemsize
        if why := overlarge(need, "bytes", info.compress_size):
            raise ValueError(f"shape {shape}: {why}")
        content = member.read(need + 1)
    if len(content) != need:
        held = f"{len(content)} bytes" if len(content) < need else "more bytes"
        raise ValueError(f"holds {held}, but shape {shape} of {dtype.name} has {need}")
    if not need:
        return np.empty(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape, order=order)
