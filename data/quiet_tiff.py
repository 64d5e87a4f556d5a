"""Keeps libtiff, with which Pillow decodes TIFF files, from printing lines of its own.

It writes to standard error what is wrong with a damaged file; Pillow raises an error besides.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from PIL import features

_MAPS = Path("/proc/self/maps")
"""The libraries of this process, where the system has such a file."""


@cache
def silence_libtiff() -> None:
    """Take libtiff its two message handlers, once; without effect where it is not found."""
    if not features.check("libtiff") or not _MAPS.exists():
        return
    lines = _MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in lines if "libtiff" in line}
    for path in paths:
        try:
            library = ctypes.CDLL(path)  # the one that is loaded
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)
        except (OSError, AttributeError):  # another file of that name
            continue
