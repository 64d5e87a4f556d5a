"""Finished and partial stages, addressed by their content.

A course (see `model.course.Course`) owns one folder, named by its key. In it lie entries, each one
file of tensors and JSON: `state` (resumable, superseded as the stage goes on), `epochs-NNNN` (a
rung's result) and `final`. Contract: any process may write any entry at any time. Entries are
functions of their key, so two writers write the same; a reader sees a whole entry or none,
because a file is written beside and published by one `os.replace`. A file whose checksum does not
hold counts as absent, and its stage is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from shiftsearch.data.publishing import write_atomically

_LOG = logging.getLogger(__name__)
_MAGIC = b"shiftsearch entry 1\n"
_DIGEST_BYTES = 32


def canonical_json(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, finite numbers only.

    Raises:
        ValueError: when the value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(value: object) -> str:
    """32 hex digits that stand for a JSON value."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What one file of the store holds.

    Attributes:
        tensors: by name, on the CPU.
        record: JSON values.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


class Store:
    """Entries under a root folder that all workers see."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, course: str, name: str) -> Path:
        """Where the entry `name` of a course lies or would lie."""
        return self.root / course[:2] / course / name

    def load(self, course: str, name: str) -> Entry | None:
        """The entry, or None when it is absent or damaged."""
        path = self.path(course, name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        start = len(_MAGIC) + _DIGEST_BYTES
        payload = content[start:]
        if content[:start] != _MAGIC + _checksum(payload):
            _LOG.warning("%s is damaged (checksum); its stage is computed again", path)
            return None
        header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
        record = json.loads(header["__metadata__"]["record"])
        return Entry(safetensors.torch.load(payload), record)

    def save(self, course: str, name: str, entry: Entry) -> None:
        """Write beside, then publish in one step.

        Raises:
            ValueError: when the record holds NaN or an infinity; nothing is written then.
        """
        record = json.dumps(entry.record, allow_nan=False)
        tensors = {k: t.detach().cpu().contiguous() for k, t in entry.tensors.items()}
        payload = safetensors.torch.save(tensors, {"record": record})
        write_atomically(self.path(course, name), _MAGIC + _checksum(payload) + payload)

    def delete(self, course: str, name: str) -> None:
        """Remove an entry that is superseded; absent is fine."""
        with contextlib.suppress(FileNotFoundError):
            self.path(course, name).unlink()


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()
