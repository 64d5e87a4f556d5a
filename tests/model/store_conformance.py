"""What a place for entries must do, as one test class; and a store in memory that does it.

A test module of a backend subclasses `StoreConformance` and gives a fixture `store`, empty and new
for each test. `WRONG` holds stores that each break one rule, which the class must see.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import torch

from shiftsearch.model.store import Entry, Store

COURSE, OTHER = "ab" * 16, "ac" * 16


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


class StoreConformance:
    """The contract of `model.store.Store`."""

    def test_an_entry_comes_back_as_it_was_until_it_is_deleted(self, store: Store) -> None:
        assert store.load(COURSE, "final") is None
        store.save(COURSE, "final", make_entry())
        assert same(store.load(COURSE, "final"), make_entry())
        assert store.load(COURSE, "state") is None
        assert store.load(OTHER, "final") is None
        store.save(COURSE, "final", make_entry(2.0))
        assert same(store.load(COURSE, "final"), make_entry(2.0))
        store.delete(COURSE, "final")
        store.delete(COURSE, "final")
        assert store.load(COURSE, "final") is None

    def test_an_entry_exists_while_it_is_there(self, store: Store) -> None:
        assert not store.exists(COURSE, "final")
        store.save(COURSE, "final", make_entry())
        assert store.exists(COURSE, "final")
        assert not store.exists(COURSE, "state")
        assert not store.exists(OTHER, "final")
        store.delete(COURSE, "final")
        assert not store.exists(COURSE, "final")

    def test_its_entries_are_named_in_order(self, store: Store) -> None:
        assert list(store.entries()) == []
        for course, name in ((OTHER, "state"), (COURSE, "state"), (COURSE, "final")):
            store.save(course, name, make_entry())
        assert list(store.entries()) == [(COURSE, "final"), (COURSE, "state"), (OTHER, "state")]
        assert store.names(COURSE) == ["final", "state"]
        store.delete(COURSE, "state")
        assert list(store.entries()) == [(COURSE, "final"), (OTHER, "state")]
        assert [store.names(c) for c in (COURSE, OTHER, "ad" * 16)] == [["final"], ["state"], []]

    def test_it_says_when_an_entry_was_published(self, store: Store) -> None:
        before = time.time()
        store.save(COURSE, "final", make_entry())
        # A clock of files may be coarse.
        assert before - 2 <= store.published(COURSE, "final") <= time.time() + 2

    def test_tidying_leaves_every_entry(self, store: Store) -> None:
        store.tidy()
        store.save(COURSE, "final", make_entry())
        store.tidy()
        assert same(store.load(COURSE, "final"), make_entry())

    @pytest.mark.parametrize("place", [0, 25, 60, 120, -1])
    def test_one_flipped_bit_makes_it_absent_until_it_is_written_again(
        self, store: Store, place: int
    ) -> None:
        store.save(COURSE, "final", make_entry())
        content = bytearray(store._read(COURSE, "final") or b"")
        content[place] ^= 1
        store._write(COURSE, "final", bytes(content))
        assert store.load(COURSE, "final") is None
        assert store.exists(COURSE, "final")
        store.save(COURSE, "final", make_entry())
        assert same(store.load(COURSE, "final"), make_entry())

    def test_what_is_truncated_is_absent_at_any_length(self, store: Store) -> None:
        store.save(COURSE, "final", make_entry())
        content = store._read(COURSE, "final")
        assert content is not None
        for length in [*range(0, 80, 13), len(content) // 2, len(content) - 1]:
            store._write(COURSE, "final", content[:length])
            assert store.load(COURSE, "final") is None, length

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_record_that_is_not_finite_is_refused_and_nothing_is_written(
        self, store: Store, value: float
    ) -> None:
        with pytest.raises(ValueError, match="JSON compliant"):
            store.save(COURSE, "final", Entry({}, {"history": [{"loss": value}]}))
        assert list(store.entries()) == []

    def test_readers_see_a_whole_entry_while_two_write(self, store: Store) -> None:
        entries = [make_entry(1.0, size=3), make_entry(2.0, size=3000)]
        store.save(COURSE, "state", entries[0])

        enough = Event()

        def write(entry: Entry) -> None:
            while not enough.is_set():
                store.save(COURSE, "state", entry)

        with ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(write, entry) for entry in entries]
            try:
                for _ in range(15):
                    seen = store.load(COURSE, "state")
                    assert same(seen, entries[0]) or same(seen, entries[1])
            finally:
                enough.set()
            for writer in writers:
                writer.result()
        assert list(store.entries()) == [(COURSE, "state")]


class MemoryStore(Store):
    """Entries in this process."""

    def __init__(self) -> None:
        self.address = f"memory:{id(self)}"
        self._contents: dict[tuple[str, str], tuple[bytes, float]] = {}

    def exists(self, course: str, name: str) -> bool:
        return (course, name) in self._contents

    def delete(self, course: str, name: str) -> None:
        self._contents.pop((course, name), None)

    def entries(self) -> Iterator[tuple[str, str]]:
        yield from sorted(self._contents)

    def names(self, course: str) -> list[str]:
        return [name for own, name in self.entries() if own == course]

    def published(self, course: str, name: str) -> float:
        return self._contents[course, name][1]

    def tidy(self) -> None:
        pass

    def _read(self, course: str, name: str) -> bytes | None:
        found = self._contents.get((course, name))
        return None if found is None else found[0]

    def _write(self, course: str, name: str, content: bytes) -> None:
        self._contents[course, name] = content, time.time()


class WritesOnce(MemoryStore):
    """What is there stays."""

    def _write(self, course: str, name: str, content: bytes) -> None:
        if not self.exists(course, name):
            super()._write(course, name, content)


class ForgetsTheCourse(MemoryStore):
    """Two courses share an entry."""

    def _read(self, course: str, name: str) -> bytes | None:
        named = (c for c, n in self.entries() if n == name)
        return super()._read(next(named, course), name)


class Tears(MemoryStore):
    """Readers may see half an entry."""

    def _write(self, course: str, name: str, content: bytes) -> None:
        super()._write(course, name, content[: len(content) // 2])
        time.sleep(0.02)  # longer than a reader waits for a processor
        super()._write(course, name, content)


class KeepsWhatIsDeleted(MemoryStore):
    def delete(self, course: str, name: str) -> None:
        pass


class MindsWhatIsAbsent(MemoryStore):
    """Deleting twice is an error."""

    def delete(self, course: str, name: str) -> None:
        del self._contents[course, name]


class TidiesTooMuch(MemoryStore):
    def tidy(self) -> None:
        self._contents.clear()


class NamesThemAsTheyCame(MemoryStore):
    def entries(self) -> Iterator[tuple[str, str]]:
        yield from list(self._contents)


class NamesAll(MemoryStore):
    """Names the entries of all courses."""

    def names(self, course: str) -> list[str]:
        return [name for _, name in self.entries()]


class ExistsIfSound(MemoryStore):
    """Says of a damaged entry that it does not exist."""

    def exists(self, course: str, name: str) -> bool:
        return self.load(course, name) is not None


class Dateless(MemoryStore):
    def published(self, course: str, name: str) -> float:
        return 0.0


WRONG: tuple[type[Store], ...] = (
    *(WritesOnce, ForgetsTheCourse, Tears, KeepsWhatIsDeleted, MindsWhatIsAbsent),
    *(TidiesTooMuch, NamesThemAsTheyCame, NamesAll, ExistsIfSound, Dateless),
)


def broken_rules(backend: type[Store]) -> list[str]:
    """The tests of the contract that a backend, made without arguments, does not pass."""
    broken, contract = [], StoreConformance()
    arguments: dict[str, tuple[Any, ...]] = {
        "test_one_flipped_bit_makes_it_absent_until_it_is_written_again": (0,),
        "test_a_record_that_is_not_finite_is_refused_and_nothing_is_written": (float("nan"),),
    }
    for name in (n for n in dir(contract) if n.startswith("test_")):
        try:
            getattr(contract, name)(backend(), *arguments.get(name, ()))
        except (AssertionError, KeyError):
            broken.append(name)
    return broken
