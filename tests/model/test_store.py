"""The store: a whole entry or none, whoever writes, whatever breaks, wherever it lies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from shiftsearch.data.publishing import write_atomically
from shiftsearch.model.store import Store, content_key, open_store
from tests.model.store_conformance import (
    COURSE,
    WRONG,
    MemoryStore,
    StoreConformance,
    broken_rules,
    make_entry,
    same,
)

pytestmark = pytest.mark.unit


class TestFileStore(StoreConformance):
    """In a folder; the fixture `store` of this folder's conftest."""


class TestMemoryStore(StoreConformance):
    """In memory."""

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


@pytest.mark.parametrize("backend", WRONG)
def test_a_backend_that_breaks_a_rule_does_not_pass(backend: type[Store]) -> None:
    assert broken_rules(MemoryStore) == []
    assert broken_rules(backend)


class FullStore(MemoryStore):
    """Without room for more than one entry."""

    def _write(self, course: str, name: str, content: bytes) -> None:
        if self._contents:
            raise OSError(errno.ENOSPC, "No space left on device")
        super()._write(course, name, content)


def no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("backend", ["files", "memory"])
def test_what_cannot_be_written_leaves_the_old_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    store = FullStore() if backend == "memory" else open_store(tmp_path)
    store.save(COURSE, "final", make_entry())
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        store.save(COURSE, "final", make_entry(2.0))
    assert same(store.load(COURSE, "final"), make_entry())
    assert list(store.entries()) == [(COURSE, "final")]


def test_an_address_opens_the_same_store(store: Store) -> None:
    store.save(COURSE, "final", make_entry())
    assert same(open_store(store.address).load(COURSE, "final"), make_entry())


def test_tidying_removes_what_a_killed_writer_left(store: Store, tmp_path: Path) -> None:
    store.save(COURSE, "final", make_entry())
    (kept,) = (path for path in tmp_path.rglob("*") if path.is_file())
    half = kept.with_name(".writing-abc")
    half.write_bytes(b"half")
    assert list(store.entries()) == [(COURSE, "final")]
    store.tidy()
    assert not half.exists()
    assert kept.exists()


def test_a_failed_write_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_content_key_depends_on_the_value_alone() -> None:
    assert content_key({"a": 1, "b": [2.5]}) == content_key({"b": [2.5], "a": 1})
    different = [{"a": 1, "b": [2.5]}, {"a": 1, "b": [2.6]}, {"a": 1, "c": [2.5]}, {"a": 1}, [1]]
    assert len({content_key(value) for value in different}) == len(different)
    assert len(content_key([])) == 32
    with pytest.raises(ValueError, match="JSON compliant"):
        content_key({"a": float("nan")})
