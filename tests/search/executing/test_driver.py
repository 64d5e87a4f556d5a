"""The driver's process: signals and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from shiftsearch.experiments.cli import main
from shiftsearch.experiments.definition import load
from shiftsearch.search.study.journal import RunLock, open_journal
from shiftsearch.search.study.records import stored_trials
from shiftsearch.search.study.study import Study
from tests.search.fake_study import drive
from tests.search.fake_trainable import attempts, failing_run_job, full_disk_run_job

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[3]
FAKE_COMMAND = [sys.executable, "-m", "tests.search.executing.fake_driver"]
SMALL = [
    *("--set", "trials=2", "--set", "retrain.top_k=1", "--set", "retrain.replicates=1"),
    *("--set", "protocol.baseline.max_epochs=1", "--set", "protocol.fine_tune.max_epochs=1"),
    *("--set", "resources.concurrency=1", "--set", "export.formats=[]"),
    *("--set", "synthetic.drift=light"),
]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "FAKE_SECONDS": "60"}


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes whose current folder this is, as for the driver and Ray."""
    import psutil  # Ray brings it

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(" ".join(process.cmdline())[:200])
    return found


def _hear_hang_ups() -> None:
    """Under nohup SIGHUP is ignored, and a driver respects that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "to", "when"),
    [
        (signal.SIGINT, "driver", "working"),
        (signal.SIGTERM, "group", "working"),
        (signal.SIGHUP, "driver", "starting"),
        (signal.SIGKILL, "gcs_server", "working"),
    ],
    ids=["int-working", "term-group-working", "hup-starting", "gcs-killed"],
)
def test_2_4_a_signal_ends_the_driver_calmly(
    tmp_path: Path, number: signal.Signals, to: str, when: str
) -> None:
    """2.4, 2.17e, 2.21a: exit code 75, no process left, and the study goes on where it was."""
    run, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as file:
        driver = subprocess.Popen(
            [*FAKE_COMMAND, "search", "demo", "--run", run, *SMALL],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            cwd=tmp_path,
            start_new_session=True,
            preexec_fn=_hear_hang_ups,
        )
    try:
        if when == "starting":
            wait_for(lambda: driver.poll() is not None or (run / "ray").exists())
            time.sleep(0.5)  # Ray takes seconds
        else:
            wait_for(lambda: driver.poll() is not None or attempts(run / "store"))
        match to:
            case "driver":
                driver.send_signal(number)
            case "group":
                os.killpg(driver.pid, number)
            case name:
                os.kill(child_of(driver.pid, name), number)
        assert driver.wait(60) == 75, log.read_text()
    finally:
        driver.kill()
    output = log.read_text()
    last = output.strip().splitlines()[-1]
    assert last.startswith("interrupted")
    assert "; the same command continues" in last
    assert (to in last) is (to == "gcs_server")
    # Python ignores, and shows, what a handler raises within a callback of the garbage collector.
    assert output.count("Traceback") == output.count("Exception ignored in")
    assert "***" not in output  # as Ray's own handler prints
    wait_for(lambda: not processes_in(run), 30)
    RunLock(run / "run.lock").acquire()
    states = [t.state for t in stored_trials(run / "study.journal")]
    assert states[0] == ("running" if when == "working" else "waiting")
    study = reopened(run)
    drive(study)
    assert study.finished
    assert [(t.number, t.state) for t in study.trials()] == [(0, "complete"), (1, "complete")]


def child_of(pid: int, name: str) -> int:
    """The process of this name that another one started."""
    import psutil  # Ray brings it

    (found,) = [c.pid for c in psutil.Process(pid).children() if c.name() == name]
    return int(found)


def reopened(run: Path) -> Study:
    experiment = load(str(run / "experiment.yaml"))
    (stored,) = optuna.get_all_study_summaries(open_journal(run / "study.journal"))
    identity = stored.user_attrs["identity"]
    return Study(run / "study.journal", experiment.search_space(), experiment.settings(), identity)


@pytest.mark.usefixtures("fake_jobs")
def test_2_21a_too_many_failures_end_with_exit_code_3(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    own_sigterm: None,
) -> None:
    """2.21a: Ray's own fit() returns normally when every trial failed."""
    monkeypatch.setattr(
        "shiftsearch.experiments.searching.cluster", lambda *_: contextlib.nullcontext()
    )
    monkeypatch.setattr("shiftsearch.search.executing.tune.run_job", failing_run_job)
    run = tmp_path / "run"
    # Few, because a worker that raises ends, and the next one has to start.
    settings = "resources={cpus_per_trial: 0.5, concurrency: 2}", "failures.min_ended=2"
    more = [part for setting in settings for part in ("--set", setting)]
    code = main(["search", "demo", "--run", str(run), *more, *SMALL[-2:]])
    output = capfd.readouterr()
    assert code == 3
    trials = stored_trials(run / "study.journal")
    failed = [t for t in trials if t.state == "failed"]
    assert 2 <= len(failed) <= 3  # failures.min_ended, and what ran beside
    assert {t.state for t in trials} <= {"failed", "waiting"}
    assert failed[0].reason == "RuntimeError: job of 2 texts cannot be done"
    assert f"too many trials failed: {len(failed)} of {len(trials)}" in output.out
    assert failed[-1].reason in output.out
    assert "Traceback" not in output.out + output.err
    assert not (run / "result.json").exists()


@pytest.mark.usefixtures("fake_jobs")
def test_a_fault_of_the_machine_ends_with_exit_code_75_and_its_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    own_sigterm: None,
) -> None:
    """No trial is blamed, however often it happens; the first ones stay open."""
    monkeypatch.setattr(
        "shiftsearch.experiments.searching.cluster", lambda *_: contextlib.nullcontext()
    )
    monkeypatch.setattr("shiftsearch.search.executing.tune.run_job", full_disk_run_job)
    run = tmp_path / "run"
    for _ in range(2):
        assert main(["search", "demo", "--run", str(run), *SMALL]) == 75
        output = capfd.readouterr()
        assert "/mnt/store: No space left on device" in output.err.strip().splitlines()[-1]
        assert "Traceback" not in output.out + output.err
        states = [t.state for t in stored_trials(run / "study.journal")]
        assert states[0] == "running"
        assert set(states) <= {"running", "waiting"}
        status = json.loads((run / "status.json").read_text())
        assert status["outcome"] == "interrupted"
        assert "No space left" in status["message"]


def test_a_ray_that_does_not_start_ends_with_exit_code_75_and_its_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    own_sigterm: None,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file"))
    monkeypatch.setattr(
        "shiftsearch.search.executing.cluster.ray.init",
        lambda **_: Path.mkdir(tmp_path / "file" / "x"),
    )
    monkeypatch.setattr("shiftsearch.search.executing.cluster.ray.shutdown", lambda: None)
    monkeypatch.setattr(
        "shiftsearch.search.executing.cluster.ray.is_initialized", lambda: False
    )  # the other tests' Ray is
    assert main(["search", "demo", "--run", str(tmp_path / "run"), *SMALL]) == 75
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert f"Ray cannot start: {tmp_path}/file/x: Not a directory" in last
    assert "--address" not in last


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["--set", "resources.cpus_per_trial=999"],
            "resources: a trial asks for 999 CPUs and 0 GPUs on one node, but there are",
        ),
        (["--set", "trails=3"], "trails: unknown key; nearest is trials"),
        (["--data", "nowhere"], "nowhere"),
    ],
    ids=["resources", "definition", "data"],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    own_sigterm: None,
    arguments: list[str],
    problem: str,
) -> None:
    assert main(["search", "demo", "--run", str(tmp_path / "run"), *arguments]) == 2
    output = capfd.readouterr()
    assert len(output.err.strip().splitlines()) == 1
    assert problem in output.err
    assert not (tmp_path / "run").exists()


def test_another_experiment_and_a_second_driver_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], own_sigterm: None
) -> None:
    run = tmp_path / "run"
    experiment = load("demo")
    run.mkdir()
    identity = experiment.identity("another digest")
    Study(run / "study.journal", experiment.search_space(), experiment.settings(), identity)
    assert main(["search", "demo", "--run", str(run)]) == 2
    assert capfd.readouterr().err.startswith("data: this run was made with another digest, now")
    lock = RunLock(run / "run.lock")
    lock.acquire()
    assert main(["search", "demo", "--run", str(run)]) == 2
    assert f"(process {os.getpid()} " in capfd.readouterr().err
    lock.release()


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    """The command sets a handler for its process; here that is the tests' process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
