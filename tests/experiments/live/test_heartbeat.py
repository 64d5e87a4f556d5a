"""The driver's signs of life, and how they are read."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.live import heartbeat
from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.heartbeat import Heartbeat
from shiftsearch.experiments.live.signs import STALE, read_status, sign_of_life, this_process
from tests.experiments.protocol_results import job

pytestmark = pytest.mark.unit

WRITTEN = 1_800_000_000.0


@pytest.fixture
def board() -> Board:
    return Board("tests", 4, {})


def wait_for(path: Path, **values: object) -> dict[str, Any]:
    """The status as soon as it has these values."""
    for _ in range(200):
        status = read_status(path)
        if status is not None and all(status[k] == v for k, v in values.items()):
            return status
        time.sleep(0.01)
    raise AssertionError(f"{path} never had {values}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.02)
    monkeypatch.setattr(heartbeat, "AT_LEAST_EVERY", 0.2)


@pytest.mark.usefixtures("quick")
def test_changes_are_written_soon_and_silence_as_a_heartbeat(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    with Heartbeat(path, board):
        assert wait_for(path, phase="starting")["beat"] == 1
        board.enter("search", 4)
        board.started(job(0))
        status = wait_for(path, phase="search")
        assert status["process"] == this_process()
        before = status["beat"]
        time.sleep(0.1)
        calm = read_status(path)
        assert calm is not None
        assert calm["beat"] <= before + 1  # nothing changes: nothing is written
        wait_for(path, beat=calm["beat"] + 1)
        board.close("complete")
    final = read_status(path)
    assert final is not None
    assert (final["phase"], final["outcome"], final["running"]) == ("ended", "complete", [])
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (KeyboardInterrupt(), "interrupted", ""),
        (OSError(errno.ENOSPC, "No space left"), "error", "OSError: [Errno 28] No space left"),
    ],
)
def test_an_exception_that_passes_is_the_outcome(
    board: Board, tmp_path: Path, error: BaseException, outcome: str, message: str
) -> None:
    path = tmp_path / "status.json"
    with pytest.raises(type(error)), Heartbeat(path, board):
        raise error
    status = read_status(path)
    assert status is not None
    assert (status["outcome"], status["message"]) == (outcome, message)


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_said_once_and_does_not_reach_the_search(
    board: Board,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(heartbeat, "write_atomically", full)
    with caplog.at_level(logging.WARNING), Heartbeat(tmp_path / "status.json", board):
        for number in range(3):
            board.started(job(number))
            time.sleep(0.05)
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path}/status.json cannot be written (No space left on device); the search goes on"
    ]


def test_a_run_folder_that_was_deleted_stays_so(
    board: Board, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder with a status and no study would be refused by the next start."""
    run = tmp_path / "run"
    run.mkdir()
    with Heartbeat(run / "status.json", board):
        shutil.rmtree(run)
    assert not run.exists()
    assert "the run folder is gone" in caplog.text


def status_by(**process: object) -> dict[str, Any]:
    return {
        "written": "2027-01-15T08:00:00.000+00:00",
        "process": {"host": "there", "pid": 7, "started": "1", "machine": "other", **process},
    }


@pytest.mark.parametrize(
    ("by_file", "by_driver", "moved", "alive", "text"),
    [
        (3.0, 4.0, False, True, " 3 s ago"),
        (-40.0, -40.0, False, True, " 0 s ago"),
        (7200.0, 7200.0, False, False, " 2 h 00 min ago"),
        (3600.0, 1.0, False, None, "1 s old by its own clock and 1 h 00 min old by the file's"),
        (1.0, 3600.0, False, None, "--watch"),
        (2.0, -3600.0, False, None, "1 h 00 min in the future by its own clock and 2 s old"),
        (-3600.0, -3600.0, False, None, "the clocks differ"),
        (3600.0, 3600.0, True, True, "process 7 on there"),
    ],
)
def test_elsewhere_the_age_of_the_file_has_to_do_and_clocks_may_differ(
    by_file: float, by_driver: float, moved: bool, alive: bool | None, text: str
) -> None:
    now = WRITTEN + by_driver
    sign = sign_of_life(status_by(), now - by_file, now, this_process(), moved)
    assert sign.alive is alive
    assert text in sign.text


@pytest.mark.slow(reason="starts a Python process that is killed")
def test_on_the_driver_s_machine_its_process_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from shiftsearch.experiments.live.board import Board\n"
        "from shiftsearch.experiments.live.heartbeat import Heartbeat\n"
        "with Heartbeat(Path(sys.argv[1]), Board('tests', 4, {})): time.sleep(60)"
    )
    repository = Path(__file__).resolve().parents[3]
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    while (status := read_status(path)) is None:
        assert driver.poll() is None
        time.sleep(0.05)
    now, here = time.time(), this_process()
    sign = sign_of_life(status, now, now, here)
    assert sign.alive
    assert sign.text.startswith(f"process {driver.pid} on {here['host']} ")
    hung = sign_of_life(status, now - STALE - 1, now, here)
    assert hung.alive
    assert hung.text.endswith(" 2 min 01 s")
    driver.kill()
    for _ in range(100):  # a zombie until it is waited for: dead already
        if not sign_of_life(status, now, now, here).alive:
            break
        time.sleep(0.02)
    assert sign_of_life(status, now, now, here).alive is False
    driver.wait()
    assert sign_of_life(status, now, now, here).text.endswith("is gone")
    reused = {**status, "process": {**here, "started": "1"}}  # the number is another's by now
    assert sign_of_life(reused, now, now, here).alive is False


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"schema": 2, "written": "2027-01-15T08:00:00+00:00"}', '{"schema": 1}'],
)
def test_what_is_no_status_of_this_version_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path / "status.json") is None
    assert read_status(tmp_path / "absent") is None


def test_two_processes_of_one_machine_are_told_apart() -> None:
    here = this_process()
    assert json.loads(json.dumps(here)) == here
    assert (here["pid"], here["host"]) == (os.getpid(), os.uname().nodename)
