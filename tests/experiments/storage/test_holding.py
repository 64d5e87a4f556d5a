"""A run that lies under a URL: copied there, brought from there, and never mixed with another."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shiftsearch.experiments.definition import DefinitionError
from shiftsearch.experiments.exits import Interrupted
from shiftsearch.experiments.outcome.looks import looks_so_far, note_looks
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.storage import claim as claims
from shiftsearch.experiments.storage import copying
from shiftsearch.experiments.storage.holding import Holding, has_begun, held
from shiftsearch.experiments.storage.place import Place, place_of
from shiftsearch.model.remote import RemoteFolder, below
from shiftsearch.model.store import Entry
from shiftsearch.search.study.journal import RunLocked
from shiftsearch.search.study.records import stored_identity, stored_trials
from tests.experiments.stored_runs import stored_run

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.05)
    monkeypatch.setattr(claims, "STALE", 2.0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    base = f"{tmp_path.as_uri()}/bucket"
    return Place(base, below(base, "run"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with files of all kinds."""
    run = stored_run(tmp_path / "first" / "run")
    for name in (
        *("result.json", "looks.json", "best/model.safetensors", "tensorboard/trial-0001/events"),
        *("dataset/pack.json", "ray/leg", "commands/1.json", "status.json", "best/.half"),
    ):
        path = run.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f"{{}} {name}")
    run.looks.write_text("[]")
    (run.folder / "looks.lock").touch()
    run.every_tensorboard.mkdir()
    (run.every_tensorboard / "shown").symlink_to(run.tensorboard)
    return run


COPIED = {
    *("study.journal", "experiment.yaml", "result.json", "looks.json", "best/model.safetensors"),
    *("tensorboard/trial-0001/events", "dataset/pack.json"),
}


def copied(place: Place) -> dict[str, bytes | None]:
    there = RemoteFolder(place.url)
    return {
        name: there.read(name) for name in there.files() if name.split("/")[0] not in copying.THERE
    }


def hold(run: Run, place: Place | None) -> None:
    with held(run, "a search", place):
        pass


def another(run: Run) -> Run:
    """An empty folder of the same name, as on another machine."""
    return Run(run.folder.parents[1] / "second" / run.folder.name)


def go_on(run: Run, line: bytes = b"{}\n") -> None:
    run.journal.write_bytes(run.journal.read_bytes() + line)


def test_a_run_is_copied_without_what_concerns_its_driver(run: Run, place: Place) -> None:
    assert not has_begun(Run(run.folder / "none"), place)
    hold(run, place)
    assert has_begun(another(run), place)
    found = copied(place)
    assert found.keys() == COPIED
    assert all(found[name] == (run.folder / name).read_bytes() for name in COPIED)
    assert RemoteFolder(place.url).folder("drivers").files() == {}


def test_what_changes_is_copied_and_what_is_gone_is_removed(run: Run, place: Place) -> None:
    hold(run, place)
    (run.tensorboard / "trial-0001").rename(run.every_tensorboard / "trial-0001")
    run.result.write_text("other")
    go_on(run)
    hold(run, None)  # the folder knows its place
    found = copied(place)
    assert "tensorboard-all/trial-0001/events" in found
    assert "tensorboard/trial-0001/events" not in found
    assert found["result.json"] == b"other"
    assert found["study.journal"] == run.journal.read_bytes()


def test_the_looks_are_copied_first_and_the_result_last(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = RemoteFolder.write

    def note(self: RemoteFolder, name: str, content: bytes) -> None:
        written.append(name)
        write(self, name, content)

    monkeypatch.setattr(RemoteFolder, "write", note)
    hold(run, place)
    order = [name for name in written if name in COPIED]
    assert (order[0], order[-2], order[-1]) == ("looks.json", "study.journal", "result.json")


def test_what_ends_while_the_copy_is_made_is_in_the_next_one(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the copy's journal would know trials whose curves the copy does not have."""
    before, write = run.journal.read_bytes(), RemoteFolder.write
    with held(run, "a search", place) as holding:
        holding.copy()
        monkeypatch.setattr(holding._copying, "_copied", {})

        def ends(self: RemoteFolder, name: str, content: bytes) -> None:
            if name.startswith("tensorboard/") and run.journal.read_bytes() == before:
                go_on(run)
                run.result.write_text("of this trial")
            write(self, name, content)

        with monkeypatch.context() as patch:
            patch.setattr(RemoteFolder, "write", ends)
            holding.copy()
        found = copied(place)
        assert found["study.journal"] == before
        assert found["result.json"] == b"{} result.json"
    found = copied(place)
    assert found["study.journal"] == run.journal.read_bytes() != before
    assert found["result.json"] == b"of this trial"


def test_another_machine_takes_up_the_run(run: Run, place: Place) -> None:
    hold(run, place)
    other, seen, said = another(run), list[dict[str, str]](), list[str]()
    with held(other, "a search", place, lambda j: seen.append(stored_identity(j)), said.append):
        assert stored_trials(other.journal) == stored_trials(run.journal)
        for name in COPIED:
            assert (other.folder / name).read_bytes() == (run.folder / name).read_bytes()
        other.store.save("ab" * 16, "final", Entry({}, {"a": 1}))
    assert seen == [stored_identity(run.journal)]
    assert len(said) == 1
    entry = run.store.load("ab" * 16, "final")
    assert entry is not None
    assert entry.record == {"a": 1}
    assert not (other.folder / "store").exists()


def test_the_first_machine_takes_up_what_the_second_did(run: Run, place: Place) -> None:
    hold(run, place)
    other = another(run)
    hold(other, place)
    go_on(other)
    note_looks(run.looks, [{"by": "the first"}])  # `evaluate`, which copies nothing
    note_looks(other.looks, [{"by": "the second"}])
    shutil.rmtree(other.tensorboard)
    hold(other, None)
    go_on(run, b'{"unfinished')  # its driver died
    hold(run, None)
    assert run.journal.read_bytes() == other.journal.read_bytes()
    assert [look["by"] for look in looks_so_far(run.looks)] == ["the second", "the first"]
    assert not run.tensorboard.exists()
    hold(other, None)
    hold(run, None)
    assert copied(place).keys() == COPIED - {"tensorboard/trial-0001/events"}
    assert other.looks.read_bytes() == run.looks.read_bytes()


def test_a_folder_that_is_ahead_of_a_copy_that_was_only_brought_elsewhere_goes_on(
    run: Run, place: Place
) -> None:
    hold(run, place)
    go_on(run)  # its driver died before this was copied
    note_looks(run.looks, [{"by": "the first"}])
    run.result.write_text("newer")
    before = run.journal.read_bytes()
    other = another(run)
    hold(other, place)
    assert other.journal.read_bytes() != before
    note_looks(other.looks, [{"by": "the second"}])
    (other.folder / "report.html").touch()
    hold(other, None)
    hold(run, None)
    assert run.journal.read_bytes() == before
    assert run.result.read_text() == "newer"
    assert [look["by"] for look in looks_so_far(run.looks)] == ["the second", "the first"]
    found = copied(place)
    assert found.keys() == COPIED
    assert all(found[name] == (run.folder / name).read_bytes() for name in COPIED)
    hold(other, None)  # it takes up what the first has done
    assert other.journal.read_bytes() == before


def test_damaged_looks_of_the_copy_are_named(run: Run, place: Place) -> None:
    hold(run, place)
    for content in (b"{", b"3"):
        RemoteFolder(place.url).write("looks.json", content)
        with pytest.raises(NotARun, match=r"bucket/run/looks\.json: is damaged"):
            hold(another(run), place)


def test_two_runs_from_one_are_never_mixed(run: Run, place: Place) -> None:
    hold(run, place)
    other = another(run)
    hold(other, place)
    go_on(other, b'{"a": 1}\n')
    hold(other, None)
    go_on(run, b'{"b": 1}\n')
    before = run.journal.read_bytes()
    with pytest.raises(NotARun, match="another folder went on with this run"):
        hold(run, None)
    assert run.journal.read_bytes() == before
    assert copied(place)["study.journal"] == other.journal.read_bytes()


def test_a_journal_that_only_this_folder_wrote_is_the_newer_one(run: Run, place: Place) -> None:
    hold(run, place)
    run.journal.write_bytes(b"".join(run.journal.read_bytes().splitlines(True)[:3]))
    before = run.journal.read_bytes()
    hold(run, None)
    assert copied(place)["study.journal"] == run.journal.read_bytes() == before


def test_another_run_is_not_brought(run: Run, place: Place) -> None:
    hold(run, place)
    other = another(run)

    def refuse(journal: Path) -> None:
        raise DefinitionError(["another seed"])

    with pytest.raises(DefinitionError, match="another seed"), held(other, "", place, refuse):
        pass
    assert [path.name for path in other.folder.iterdir()] == ["run.lock"]
    other.refuse_other_content()


def test_an_arrival_that_is_killed_begins_again(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(run, place)
    other, read = another(run), RemoteFolder.read

    def dies(self: RemoteFolder, name: str) -> bytes | None:
        if name == "result.json":
            raise KeyboardInterrupt
        return read(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "read", dies)
        with pytest.raises(KeyboardInterrupt):
            hold(other, place)
    assert not other.journal.exists()
    assert len(list(other.folder.iterdir())) > 2
    other.refuse_other_content()
    hold(other, place)
    assert {name for name in COPIED if (other.folder / name).exists()} == COPIED
    assert copied(place).keys() == COPIED
    assert not other.arriving.exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "best/../../evil"])
def test_a_name_does_not_escape_the_folder(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hold(run, place)
    files = RemoteFolder.files

    def more(self: RemoteFolder) -> dict[str, object]:
        return {**files(self), **({name: (1, 0.0)} if self.url == place.url else {})}

    monkeypatch.setattr(RemoteFolder, "files", more)
    with pytest.raises(NotARun, match="outside"):
        hold(another(run), place)


def fails(error: OSError) -> Callable[..., None]:
    def method(*_: object) -> None:
        raise error

    return method


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (OSError("AWS Error NO_SUCH_BUCKET during PutObject"), DefinitionError),
        (OSError("AWS Error ACCESS_DENIED during PutObject"), DefinitionError),
        (OSError("AWS Error NETWORK_CONNECTION during PutObject"), Interrupted),
    ],
)
def test_a_store_that_cannot_be_used_is_said_before_anything_is_written(
    run: Run,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    wanted: type[Exception],
) -> None:
    monkeypatch.setattr(RemoteFolder, "write", fails(error))
    other = another(run)
    with pytest.raises(wanted, match="AWS Error"):
        hold(other, place)
    assert [path.name for path in other.folder.iterdir()] == ["run.lock"]


def until_fault(holding: Holding) -> str:
    deadline = time.monotonic() + 20
    while not holding.fault and time.monotonic() < deadline:
        time.sleep(0.02)
    return holding.fault


def test_a_store_that_is_lost_ends_the_driver(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> None:
        with held(run, "a search", place) as holding:
            assert holding.fault == ""
            monkeypatch.setattr(RemoteFolder, "write", fails(OSError("no network")))
            assert "no network" in until_fault(holding)

    with pytest.raises(Interrupted, match="no network"):
        lose()
    monkeypatch.undo()
    hold(run, None)
    assert copied(place).keys() == COPIED


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_only_a_store_that_stays_lost_ends_the_driver(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has half of `STALE` from the first failure on, however old the last copy is."""
    now, failed, write = [0.0], list[str](), RemoteFolder.write

    def lost(self: RemoteFolder, name: str, content: bytes) -> None:
        if self.url == place.url:
            failed.append(name)
            raise OSError("no network")
        write(self, name, content)

    monkeypatch.setattr(copying, "AGAIN", 0.01)
    monkeypatch.setattr(copying, "_SHARE", 0)
    monkeypatch.setattr(copying, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with held(run, "a search", place) as holding:
        until(lambda: copied(place).keys() == COPIED)
        thread = holding._copying
        assert thread is not None
        for content in ("one", "two"):
            now[0] += 1000
            failed.clear()
            run.result.write_text(content)
            with monkeypatch.context() as patch:
                patch.setattr(RemoteFolder, "write", lost)
                thread._wake.set()
                until(lambda: len(failed) > 2 or holding.fault)
                now[0] += copying.STALE / 2
                failed.clear()
                until(lambda: len(failed) > 1 or holding.fault)
            until(lambda: copied(place)["result.json"] == run.result.read_bytes() or holding.fault)
            assert holding.fault == ""
        with monkeypatch.context() as patch:
            patch.setattr(RemoteFolder, "write", lost)
            failed.clear()
            run.result.write_text("three")
            thread._wake.set()
            until(lambda: failed)
            now[0] += copying.STALE
            until(lambda: "no network" in holding.fault)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_listed_keeps_its_copy(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    scandir = os.scandir

    def listed(path: Path | str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == run.tensorboard / "trial-0001":
            raise OSError(error, os.strerror(error), str(path))
        return scandir(path)

    with held(run, "a search", place) as holding:
        holding.copy()
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", listed)
            with pytest.raises(OSError, match=os.strerror(error)):
                holding.copy()
        assert copied(place).keys() == COPIED
        shutil.rmtree(run.tensorboard)  # which is no failure
        holding.copy()
        assert copied(place).keys() == COPIED - {"tensorboard/trial-0001/events"}


def test_who_was_taken_for_dead_copies_nothing_more(run: Run, place: Place) -> None:
    def take_over() -> None:
        drivers = RemoteFolder(place.url).folder("drivers")
        with held(run, "a search", place) as holding:
            holding.copy()
            (name,) = drivers.files()
            # The claim may write its own object once more, if it had just looked.
            drivers.write("other.json", drivers.read(name) or b"")
            drivers.delete(name)
            assert "has taken over" in until_fault(holding)
            run.result.write_text("late")

    with pytest.raises(Interrupted, match="has taken over"):
        take_over()
    assert copied(place)["result.json"] == b"{} result.json"


def test_a_second_driver_is_refused(run: Run, place: Place) -> None:
    with held(run, "a search", place), pytest.raises(RunLocked, match="a search"):
        hold(another(run), place)
    hold(another(run), place)


def test_a_run_without_a_place_is_only_locked(run: Run) -> None:
    with held(run, "a search") as holding:
        assert holding.fault == ""
        assert holding.listeners == []
    assert place_of(run) is None
    assert not run.storage.exists()


def test_a_damaged_place_is_named(run: Run) -> None:
    for content in ("{", "[]", '{"url": "s3://a"}'):
        run.storage.write_text(content)
        with pytest.raises(NotARun, match=r"storage\.json: is damaged"):
            hold(run, None)
    run.storage.write_text(json.dumps({"storage": "", "url": "file:///x", "drivers": 3}))
    with pytest.raises(NotARun, match=r"storage\.json: is damaged"):
        hold(run, None)
