"""The journal survives a killed driver's half line and lock; a second driver is refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import optuna
import pytest

from shiftsearch.search.study.journal import (
    RunLock,
    RunLocked,
    StudyDamaged,
    open_journal,
    read_journal,
)
from shiftsearch.search.study.records import stored_trials
from tests.search.fake_study import drive, open_study, summary

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("keep", [1, 20, -1], ids=["one-byte", "some", "all-but-newline"])
def test_a_torn_last_line_is_cut_and_the_study_goes_on(tmp_path: Path, keep: int) -> None:
    """If half a line stays, the second write after it makes the study unreadable."""
    path, whole = tmp_path / "study.journal", tmp_path / "whole.journal"
    drive(open_study(whole))
    drive(open_study(path), 3)
    *complete, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(complete) + last[:keep])
    drive(open_study(path))
    assert summary(open_study(path)) == summary(open_study(whole))
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_trial_that_was_cut_off_at_any_of_its_lines_goes_on(tmp_path: Path) -> None:
    """Its question and its ending are one write each, of which a part may be on the disk."""
    path, whole = tmp_path / "study.journal", tmp_path / "whole.journal"
    drive(open_study(whole))
    drive(open_study(path), 2)
    before = path.read_bytes()
    drive(open_study(path), 1)
    lines = path.read_bytes()[len(before) :].splitlines(keepends=True)
    assert len(lines) > 8
    for count in range(len(lines)):
        path.write_bytes(before + b"".join(lines[:count]))
        drive(open_study(path))
        assert summary(open_study(path)) == summary(open_study(whole))


def test_lines_that_belong_together_are_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_journal(path := tmp_path / "study.journal")
    study = optuna.create_study(storage=storage)
    begin, synced = path.read_bytes(), list[int]()
    monkeypatch.setattr(os, "fsync", synced.append)

    def ask() -> None:
        with storage.together():
            with storage.together():
                study.ask().suggest_float("x", 0.0, 1.0)
            assert path.read_bytes() == begin
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask()
    assert len(synced) == 1
    assert len(study.trials[0].params) == 1
    assert read_journal(path).get_all_trials(0) == study.trials  # as it is known here


def test_after_a_failed_write_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Optuna knows is more than what the file holds."""
    storage = open_journal(path := tmp_path / "study.journal")
    study = optuna.create_study(storage=storage)
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Mock(side_effect=full))
        with pytest.raises(OSError, match="No space left"), storage.together():
            study.ask()
    content = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        study.ask()
    assert path.read_bytes() == content


def test_a_complete_trial_without_a_result_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    drive(open_study(path), 2)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [line for line in lines if "result" not in line.get("user_attr", {})]
    assert len(kept) < len(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    with pytest.raises(StudyDamaged, match=r"study\.journal: is damaged .*trial 0") as caught:
        open_study(path)
    assert len(caught.value.problems) == 1
    with pytest.raises(ValueError, match="trial 0"):
        stored_trials(path)


@pytest.mark.parametrize("number", [1, 2, 9, -1])
@pytest.mark.parametrize("damage", [b"{no JSON", b"\0\0\0", b"", b"[1]", b'{"op_code": 77}'])
def test_a_damaged_line_is_refused_by_its_number(
    tmp_path: Path, number: int, damage: bytes
) -> None:
    path = tmp_path / "study.journal"
    drive(open_study(path), 2)
    lines = path.read_bytes().splitlines(keepends=True)
    number = number if number > 0 else len(lines)
    lines[number - 1 : number - 1] = [damage + b"\n"]
    path.write_bytes(b"".join(lines))
    for read in (open_study, stored_trials):
        with pytest.raises(StudyDamaged) as caught:
            read(path)
        (problem,) = caught.value.problems
        assert problem.startswith(f"{path}, line {number}: is damaged (")
    path.write_bytes(b"".join(lines[: number - 1]))  # what the message advises
    drive(open_study(path))


@pytest.mark.parametrize("tail", [b"\0" * 512, b'{"op_co' + b"\0" * 512, b"\0\0\n\0\n", b"\n\n"])
def test_nul_bytes_after_the_last_line_are_cut_off(tmp_path: Path, tail: bytes) -> None:
    """A power cut can leave them where the file system had not written the content yet."""
    path, whole = tmp_path / "study.journal", tmp_path / "whole.journal"
    drive(open_study(whole))
    drive(open_study(path), 3)
    with path.open("ab") as file:
        file.write(tail)
    assert len(stored_trials(path)) == 3
    drive(open_study(path))
    assert summary(open_study(path)) == summary(open_study(whole))


def test_a_whole_journal_is_not_touched_by_opening(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    drive(open_study(path), 2)
    content = path.read_bytes()
    open_journal(path)
    assert path.read_bytes() == content


def test_a_reader_sees_what_is_whole_and_can_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    drive(open_study(path), 2)
    ended = stored_trials(path)
    assert ended == open_study(path).trials()
    with path.open("ab") as file:
        file.write(b'{"op_code":')  # the driver's next line, half written
    content = path.read_bytes()
    assert stored_trials(path) == ended
    with pytest.raises(PermissionError, match="opened to be read"):
        optuna.load_study(study_name=None, storage=read_journal(path)).ask()
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["study.journal"]
    with pytest.raises(FileNotFoundError):
        stored_trials(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_stale_lock_of_optuna_does_not_delay(tmp_path: Path, dangling: bool) -> None:
    """Optuna's own lock stays when its owner dies: the next start waits 30 s or for ever."""
    path = tmp_path / "study.journal"
    drive(open_study(path), 1)
    target = tmp_path / "nothing" if dangling else path
    Path(f"{path}.lock").symlink_to(target)
    begin = time.monotonic()
    drive(open_study(path))
    assert time.monotonic() - begin < 3
    assert len(open_study(path).trials()) == 6


def test_a_relative_path_in_a_subfolder_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    study = open_study(Path("run/study.journal"))
    monkeypatch.chdir("/")  # as the driver does while Ray is in use
    drive(study)
    assert len(open_study(tmp_path / "run/study.journal").trials()) == 6


def test_writing_leaves_no_lock_file(tmp_path: Path) -> None:
    drive(open_study(tmp_path / "study.journal"))
    assert [p.name for p in tmp_path.iterdir()] == ["study.journal"]


def test_a_second_driver_is_refused_and_named(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path / "run.lock"), RunLock(tmp_path / "run.lock")
    first.acquire()
    with pytest.raises(RunLocked, match=rf"{tmp_path}: a search is .*\(process {os.getpid()} "):
        second.acquire()
    with pytest.raises(RunLocked, match=str(os.getpid())):  # the refused one wiped no name
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_the_refusal_says_what_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    report = RunLock(path, "`shiftsearch report`")
    report.acquire()
    with pytest.raises(RunLocked, match=rf"{tmp_path}: `shiftsearch report` is .*{os.getpid()} "):
        RunLock(path).acquire()
    path.write_text(f"{os.getpid()} on here\n")  # as earlier versions wrote it
    with pytest.raises(RunLocked, match=rf": a search is .*\(process {os.getpid()} on here\)"):
        RunLock(path).acquire()
    report.release()


@pytest.mark.slow(reason="starts a Python process that is killed while it holds the lock")
def test_the_lock_of_a_killed_driver_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from shiftsearch.search.study.journal import RunLock\n"
        "lock = RunLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True);"
        "time.sleep(60)"
    )
    lock = tmp_path / "run.lock"
    repository = Path(__file__).resolve().parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunLocked, match=f"process {holder.pid} "):
        RunLock(lock).acquire()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    RunLock(lock).acquire()
