"""Finished and partial stages, addressed by their content.

A course (see `model.course.Course`) owns entries of tensors and JSON: `state` (resumable,
superseded as the stage goes on), `epochs-NNNN` (a budget's result), `final`, and `report-...` (a
stage's scores and history). All but the last may be removed, see `model.collecting`; a stage
without its entries is computed again. Contract: any process may write any entry at any time. An
entry depends only on its key, so two writers write the same. A reader sees a complete entry or
none. An entry with a wrong checksum counts as absent, and its stage is computed again.

A subclass of `Store` decides where the bytes are kept, and only `open_store` chooses it. The test
class in `tests/model/store_conformance.py` checks the contract of every subclass.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from shiftsearch.data.publishing import WRITING, write_atomically

_LOG = logging.getLogger(__name__)
_MAGIC = b"shiftsearch entry 1\n"
_DIGEST_BYTES = 32
_START = len(_MAGIC) + _DIGEST_BYTES


def canonical_json(value: object) -> str:
    """The canonical JSON text of a value: sorted keys, no spaces, finite numbers only.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(value: object) -> str:
    """A hash of a JSON value: 32 hex digits."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Entry:
    """The content of one entry of the store.

    Attributes:
        tensors: tensors by name, on the CPU.
        record: JSON values.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


class Store(ABC):
    """Entries by course and name, in a place that all workers can read and write.

    Attributes:
        address: the argument of `open_store` that opens the same store in another process.
    """

    address: str

    def load(self, course: str, name: str) -> Entry | None:
        """The entry, or None when it is absent or damaged."""
        content = self._read(course, name)
        if content is None:
            return None
        if not is_whole(content):
            _LOG.warning(
                "%s: %s of %s is damaged (checksum); its stage is computed again",
                *(self.address, name, course),
            )
            return None
        payload = content[_START:]
        header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
        record = json.loads(header["__metadata__"]["record"])
        return Entry(safetensors.torch.load(payload), record)

    def save(self, course: str, name: str, entry: Entry) -> None:
        """Publish the entry in one step; it replaces an older one.

        Raises:
            ValueError: the record holds NaN or an infinity; nothing is written.
            OSError: it cannot be written; an older entry is kept.
        """
        record = json.dumps(entry.record, allow_nan=False)
        tensors = {k: t.detach().cpu().contiguous() for k, t in entry.tensors.items()}
        payload = safetensors.torch.save(tensors, {"record": record})
        self._write(course, name, _MAGIC + _checksum(payload) + payload)

    @abstractmethod
    def exists(self, course: str, name: str) -> bool:
        """Whether there is such an entry; its checksum is not verified."""

    @abstractmethod
    def delete(self, course: str, name: str) -> None:
        """Remove an entry, if there is one."""

    @abstractmethod
    def entries(self) -> Iterator[tuple[str, str]]:
        """Course and name of every published entry, in order."""

    @abstractmethod
    def names(self, course: str) -> list[str]:
        """Names of a course's published entries, in order; empty if there are none."""

    @abstractmethod
    def published(self, course: str, name: str) -> float:
        """When an existing entry was published, in seconds since 1970."""

    @abstractmethod
    def tidy(self) -> None:
        """Remove leftovers of killed writers; entries are kept."""

    @abstractmethod
    def _read(self, course: str, name: str) -> bytes | None:
        """The bytes of the last `_write`; None if there is no such entry."""

    @abstractmethod
    def _write(self, course: str, name: str, content: bytes) -> None:
        """Publish the bytes in one step: a reader gets all the old ones or all the new ones."""


class FileStore(Store):
    """Entries as files under a folder, `XX/COURSE/NAME`; published by one `os.replace`."""

    def __init__(self, root: Path) -> None:
        self.address, self._root = str(root), root

    def exists(self, course: str, name: str) -> bool:
        """See `Store`."""
        return self._path(course, name).exists()

    def delete(self, course: str, name: str) -> None:
        """See `Store`."""
        with contextlib.suppress(FileNotFoundError):
            self._path(course, name).unlink()

    def entries(self) -> Iterator[tuple[str, str]]:
        """See `Store`."""
        for path in sorted(self._root.glob("*/*/[!.]*")):
            yield path.parent.name, path.name

    def names(self, course: str) -> list[str]:
        """See `Store`."""
        return sorted(path.name for path in self._path(course, "").glob("[!.]*"))

    def published(self, course: str, name: str) -> float:
        """See `Store`."""
        return self._path(course, name).stat().st_mtime

    def tidy(self) -> None:
        """See `Store`; the leftovers are files that were not renamed."""
        for leftover in self._root.glob(f"*/*/{WRITING}*"):
            leftover.unlink(missing_ok=True)

    def _path(self, course: str, name: str) -> Path:
        return self._root / course[:2] / course / name

    def _read(self, course: str, name: str) -> bytes | None:
        try:
            return self._path(course, name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, course: str, name: str, content: bytes) -> None:
        write_atomically(self._path(course, name), content)


def open_store(address: str | Path) -> Store:
    """The store at an address; it is empty if nothing was saved yet. All stores are made here.

    Args:
        address: a folder, which the first `save` makes; or a URL, see `model.remote`.
    """
    if "://" in str(address):
        from shiftsearch.model.remote_store import RemoteStore  # imports this module

        return RemoteStore(str(address))
    return FileStore(Path(address))


def is_whole(content: bytes) -> bool:
    """Whether the bytes of an entry are complete and unchanged."""
    return content[:_START] == _MAGIC + _checksum(content[_START:])


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()
