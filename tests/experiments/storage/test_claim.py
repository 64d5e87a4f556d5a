"""One driver at a time may write to a run under a URL, also if they start together."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shiftsearch.experiments.storage import claim as claims
from shiftsearch.experiments.storage.claim import Claim
from shiftsearch.model.remote import RemoteFolder
from shiftsearch.search.study.journal import RunLocked

pytestmark = pytest.mark.unit

RUN = Path("/runs/mine")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.05)
    monkeypatch.setattr(claims, "STALE", 2.0)


@pytest.fixture
def drivers(tmp_path: Path) -> RemoteFolder:
    return RemoteFolder(f"{tmp_path.as_uri()}/drivers")


@pytest.fixture
def held(drivers: RemoteFolder) -> Iterator[Claim]:
    claim = Claim(drivers, RUN, "a search")
    claim.acquire()
    yield claim
    claim.release()


def until_fault(claim: Claim) -> str:
    deadline = time.monotonic() + 10
    while not claim.fault and time.monotonic() < deadline:
        time.sleep(0.02)
    return claim.fault


def test_a_second_driver_is_refused_until_the_first_ends(drivers: RemoteFolder) -> None:
    first, second = Claim(drivers, RUN, "a search"), Claim(drivers, Path("/other"), "`report`")
    first.acquire()
    with pytest.raises(RunLocked, match=r"a search \(process \d+ on .*\) is using this run"):
        second.acquire()
    assert list(drivers.files()) == [first.name]
    first.release()
    assert drivers.files() == {}
    third = Claim(drivers, RUN, "a search")
    third.acquire()
    third.release()
    assert first.fault == third.fault == ""


def test_a_driver_of_a_copied_folder_does_not_take_a_living_one_for_its_predecessor(
    drivers: RemoteFolder, held: Claim
) -> None:
    with pytest.raises(RunLocked):
        Claim(drivers, Path("/elsewhere"), "a search").acquire([held.name])


def dead(drivers: RemoteFolder, run: Path = Path("/other")) -> str:
    """What a killed driver leaves."""
    claim = Claim(drivers, run, "a search")
    claim._holds = True
    claim._write()
    return claim.name


def test_a_dead_driver_is_waited_for(drivers: RemoteFolder) -> None:
    said: list[str] = []
    name = dead(drivers)
    begin = time.monotonic()
    claim = Claim(drivers, RUN, "a search")
    claim.acquire(tell=said.append)
    assert time.monotonic() - begin > 1.0
    assert len(said) == 1
    assert name not in drivers.files()
    claim.release()


def test_the_dead_driver_of_the_same_folder_is_not_waited_for(drivers: RemoteFolder) -> None:
    name = dead(drivers, RUN)
    claim = Claim(drivers, RUN, "a search")
    claim.acquire([name], pytest.fail)
    claim.release()


def test_of_drivers_that_start_together_one_stays(drivers: RemoteFolder) -> None:
    claims_, barrier = [Claim(drivers, RUN, "a search") for _ in range(4)], threading.Barrier(4)
    held: list[Claim] = []

    def start(claim: Claim) -> None:
        barrier.wait()
        try:
            claim.acquire()
            held.append(claim)
        except RunLocked:
            pass

    threads = [threading.Thread(target=start, args=(claim,)) for claim in claims_]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    held[0].release()
    assert held[0].fault == ""
    assert drivers.files() == {}


def test_of_two_that_wait_the_smaller_name_stays(drivers: RemoteFolder) -> None:
    small, large = sorted((Claim(drivers, RUN, "") for _ in range(2)), key=lambda c: c.name)
    small._write()
    with pytest.raises(RunLocked):
        large.acquire()
    large._write()
    small.acquire(tell=lambda _: drivers.delete(large.name))
    small.release()


def test_a_driver_that_is_taken_for_dead_stops(drivers: RemoteFolder, held: Claim) -> None:
    drivers.delete(held.name)
    assert "another driver has taken over" in until_fault(held)


def test_a_driver_that_finds_another_one_stops(drivers: RemoteFolder, held: Claim) -> None:
    dead(drivers)
    assert "another driver has taken over" in until_fault(held)


def test_a_driver_that_cannot_write_stops_before_it_is_taken_for_dead(
    held: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise OSError("no network")

    begin = time.monotonic()
    monkeypatch.setattr(RemoteFolder, "write", lost)
    assert "no network" in until_fault(held)
    assert time.monotonic() - begin < 2.0


def test_what_cannot_be_read_counts_until_it_is_stale(drivers: RemoteFolder) -> None:
    garbage = {"a.json": b"{", "b.json": b"[]", "c.json": json.dumps({}).encode()}
    for name, content in garbage.items():
        drivers.write(name, content)
    said: list[str] = []
    begin = time.monotonic()
    claim = Claim(drivers, RUN, "a search")
    claim.acquire(tell=said.append)
    assert time.monotonic() - begin > 1.0
    assert len(said) == 1
    assert list(drivers.files()) == [claim.name]
    claim.release()


def test_a_driver_that_is_read_while_it_writes_is_not_removed(
    drivers: RemoteFolder, held: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, torn = RemoteFolder.read, list[str]()

    def without_its_end(self: RemoteFolder, name: str) -> bytes | None:
        content = read(self, name)
        if content is None or name != held.name or len(torn) == 2:
            return content
        torn.append(name)
        return content.rstrip()[:-1]

    monkeypatch.setattr(RemoteFolder, "read", without_its_end)
    with pytest.raises(RunLocked, match="a search"):
        Claim(drivers, Path("/other"), "`report`").acquire([held.name])
    assert torn == [held.name] * 2
    assert list(drivers.files()) == [held.name]
    time.sleep(0.2)
    assert held.fault == ""


def test_who_holds_is_not_troubled_by_one_that_begins_to_write(
    drivers: RemoteFolder, held: Claim
) -> None:
    drivers.write("0.json", b'{"process": 3')
    time.sleep(0.3)
    assert held.fault == ""
    assert "0.json" in drivers.files()


def test_whoever_finds_its_own_object_gone_looks_again(
    drivers: RemoteFolder, held: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, write = Claim(drivers, Path("/other"), "`report`"), RemoteFolder.write
    written: list[str] = []

    def lost_once(self: RemoteFolder, name: str, content: bytes) -> None:
        write(self, name, content)
        if name == second.name:
            written.append(name)
            if len(written) == 1:
                self.delete(name)

    monkeypatch.setattr(RemoteFolder, "write", lost_once)
    with pytest.raises(RunLocked, match="a search"):
        second.acquire()
    assert len(written) > 1
    assert list(drivers.files()) == [held.name]


def test_all_that_a_driver_writes_has_one_size(drivers: RemoteFolder) -> None:
    claim, sizes = Claim(drivers, RUN, "a search"), set[int]()
    for beats, holds in ((0, False), (8, False), (9, True), (99_999_999, True)):
        claim._beats, claim._holds = beats, holds
        claim._write()
        sizes.add(drivers.files()[claim.name].size)
    assert len(sizes) == 1
