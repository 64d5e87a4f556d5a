"""The store: a whole entry or none, whoever writes, whatever breaks."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from shiftsearch.data.publishing import write_atomically
from shiftsearch.model.store import Entry, Store, content_key

pytestmark = pytest.mark.unit

COURSE = "ab" * 16


def make_entry(value: float = 1.0, size: int = 3) -> Entry:
    tensors = {
        "weight": torch.full((size, 2, 3, 3), value).contiguous(memory_format=torch.channels_last),
        "half": torch.tensor([value, -0.0], dtype=torch.bfloat16),
        "count": torch.tensor(7),
    }
    return Entry(tensors, {"loss": 0.1 + value, "rows": [{"epoch": 1}]})


def same(a: Entry | None, b: Entry) -> bool:
    return (
        a is not None
        and a.record == b.record
        and a.tensors.keys() == b.tensors.keys()
        and all(torch.equal(a.tensors[k], b.tensors[k]) for k in b.tensors)
        and all(a.tensors[k].dtype == b.tensors[k].dtype for k in b.tensors)
    )


def test_an_entry_comes_back_as_it_was_until_it_is_deleted(store: Store) -> None:
    assert store.load(COURSE, "final") is None
    store.save(COURSE, "final", make_entry())
    assert same(store.load(COURSE, "final"), make_entry())
    assert store.load(COURSE, "state") is None
    store.save(COURSE, "final", make_entry(2.0))
    assert same(store.load(COURSE, "final"), make_entry(2.0))
    store.delete(COURSE, "final")
    store.delete(COURSE, "final")
    assert store.load(COURSE, "final") is None


@pytest.mark.parametrize("place", [0, 25, 60, 120, -1])
def test_one_flipped_bit_makes_it_absent_until_it_is_written_again(
    store: Store, place: int
) -> None:
    store.save(COURSE, "final", make_entry())
    path = store.path(COURSE, "final")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert store.load(COURSE, "final") is None
    store.save(COURSE, "final", make_entry())
    assert same(store.load(COURSE, "final"), make_entry())


def test_a_truncated_file_is_absent_at_any_length(store: Store) -> None:
    store.save(COURSE, "final", make_entry())
    path = store.path(COURSE, "final")
    content = path.read_bytes()
    for length in [*range(0, 80), len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        assert store.load(COURSE, "final") is None, length


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_record_that_is_not_finite_is_refused_and_nothing_is_written(
    store: Store, value: float
) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        store.save(COURSE, "final", Entry({}, {"history": [{"loss": value}]}))
    assert not store.root.exists()


def test_readers_see_a_whole_entry_while_two_write(store: Store) -> None:
    entries = [make_entry(1.0, size=3), make_entry(2.0, size=3000)]
    store.save(COURSE, "state", entries[0])

    def write(entry: Entry) -> None:
        for _ in range(15):
            store.save(COURSE, "state", entry)

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, entry) for entry in entries]
        reads = 0
        while not all(writer.done() for writer in writers):
            seen = store.load(COURSE, "state")
            assert same(seen, entries[0]) or same(seen, entries[1])
            reads += 1
        for writer in writers:
            writer.result()
    assert reads > 0
    assert [path.name for path in store.path(COURSE, "state").parent.iterdir()] == ["state"]


def test_a_failed_write_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

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
