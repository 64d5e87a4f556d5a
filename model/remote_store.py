"""Entries of the store as objects under a URL."""

from __future__ import annotations

from collections.abc import Iterator

from shiftsearch.model.remote import RemoteFolder
from shiftsearch.model.store import Store, is_whole

_MOST, _EQUAL = 24, 6


class RemoteStore(Store):
    """Entries as objects, `XX/COURSE/NAME`, as in a folder; each is published by one put.

    Args:
        url: see `model.remote.RemoteFolder`.
    """

    def __init__(self, url: str) -> None:
        self.address, self._files = url, RemoteFolder(url)

    def exists(self, course: str, name: str) -> bool:
        """See `Store`."""
        return self._files.find(_path(course, name)) is not None

    def delete(self, course: str, name: str) -> None:
        """See `Store`."""
        self._files.delete(_path(course, name))

    def entries(self) -> Iterator[tuple[str, str]]:
        """See `Store`."""
        for path in self._files.files():
            _, course, name = path.split("/")
            yield course, name

    def names(self, course: str) -> list[str]:
        """See `Store`."""
        return list(self._files.folder(_path(course, "")).files())

    def published(self, course: str, name: str) -> float:
        """See `Store`."""
        found = self._files.find(_path(course, name))
        if found is None:
            raise FileNotFoundError(f"{self.address}: has no {_path(course, name)}")
        return found.written

    def tidy(self) -> None:
        """See `Store`; an object store shows no leftovers."""
        self._files.tidy()

    def _read(self, course: str, name: str) -> bytes | None:
        """Read again what is torn, while it changes: another process is replacing it."""
        seen: list[bytes] = []
        while len(seen) < _MOST:
            content = self._files.read(_path(course, name))
            if content is None or is_whole(content):
                return content
            seen.append(content)
            if seen.count(content) == _EQUAL:
                break
        return seen[-1]

    def _write(self, course: str, name: str, content: bytes) -> None:
        self._files.write(_path(course, name), content)


def _path(course: str, name: str) -> str:
    return f"{course[:2]}/{course}/{name}"
