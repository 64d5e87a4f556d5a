"""`imported.json`: how the images of a dataset folder were read, for later ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from shiftsearch.data.fitting import ASPECTS, DEFAULT_ASPECT, Aspect
from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.scale import DEEP_BITS, FULL_BITS, Bits

IMPORT_RECORD = "imported.json"
"""The record that `data import` writes about its source, beside the splits."""


class ImportRecord(NamedTuple):
    """What the images were imported from.

    Attributes:
        bits: significant bits of the 16-bit gray files.
        aspect: what was done to images of another aspect ratio.
    """

    bits: Bits = FULL_BITS
    aspect: Aspect = DEFAULT_ASPECT

    def write(self, folder: Path) -> None:
        """Write the fields that are not the default; no file if there are none."""
        other = {k: v for k, v in self._asdict().items() if v != self._field_defaults[k]}
        if other:
            text = json.dumps(other) + "\n"
            (folder / IMPORT_RECORD).write_text(text, encoding="utf-8")


NOT_IMPORTED = ImportRecord()


def read_import_record(folder: Path) -> ImportRecord | str:
    """The record in a dataset folder, or a line that says what is wrong with it."""
    path = folder / IMPORT_RECORD
    damaged = f"{path}: is damaged; `data import` writes it; import the images again"
    try:
        found: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError):
            fault_in(path, error)
        return damaged
    if not isinstance(found, dict) or not found or not found.keys() <= {*ImportRecord._fields}:
        return damaged
    record = ImportRecord(**found)
    for name, value, allowed in (
        ("bits", record.bits, DEEP_BITS),
        ("aspect", record.aspect, ASPECTS),
    ):
        if value not in allowed:
            return f"{path}: {name} is {value!r}, but must be one of {allowed}"
    return record
