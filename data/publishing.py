"""Write folders and files so that they appear complete or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.os_errors import name_file

WRITING = ".writing-"
"""Prefix of a file's name while the file is written."""


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Make a new folder beside `target` to write into; it is renamed to `target` at the end.

    After an error, also in the rename, the new folder is removed. A process that is killed leaves
    a hidden folder `.NAME.<8 hex digits>` and no target.

    Raises:
        OSError: the folder cannot be made, or `target` holds files by then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    beside.mkdir()
    try:
        yield beside
        os.replace(beside, target)  # noqa: PTH105 - says that an empty target is replaced
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError):  # nobody knows `beside`
            name_file(error, target)
        raise


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file.

    If numpy gets a real file, it writes by itself, and its error for a full disk names neither the
    cause nor the file. It gets only the method `write`, so that Python writes and raises the
    error.

    Raises:
        OSError: with the error's number and the file's name.
    """
    try:
        with path.open("wb") as file:
            np.save(SimpleNamespace(write=file.write), array)
    except OSError as error:
        name_file(error, path)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file `path`; a crash leaves either the old file or the new one, complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=WRITING)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk names no file, and nobody knows `beside`
            name_file(error, path)
        raise
