"""How much a file may declare to hold, checked before memory is taken for it.

A few bytes can declare an image or an array of any size: a damaged header, or a file made to
exhaust memory (CWE-409, https://cwe.mitre.org/data/definitions/409.html). A file may hold `FREE`
values, or `FACTOR` times its own size in bytes if that is more. Reading an image takes up to 20
bytes of memory for each of its pixels (colours, transparency, gray), reading an array up to 3
for each of its bytes.
"""

from __future__ import annotations

FREE = 1 << 24
"""Pixels or bytes that a file of any size may hold: a 4096x4096 drawing compresses well."""

FACTOR = 200
"""Pixels or bytes that a larger file may hold for each of its own bytes."""


def overlarge(held: int, what: str, size: int) -> str:
    """Why a file may not hold that much; empty if it may.

    Args:
        held: pixels or bytes that the file declares.
        what: which of the two, for the message.
        size: bytes of the file itself.
    """
    most = max(FREE, FACTOR * size)
    if held <= most:
        return ""
    return f"declares {held} {what} in a file of {size} bytes, but {most} {what} is the most"
