"""`status` and `trials` through `main`, of running, dead, finished and old runs."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.cli import WRONG_INPUT, main
from shiftsearch.experiments.live.board import SCHEMA, Board
from shiftsearch.experiments.live.heartbeat import Heartbeat
from shiftsearch.experiments.live.signs import this_process
from shiftsearch.experiments.live.trials_view import WrongOption, column_of
from shiftsearch.experiments.outcome.trials_table import trials_frame
from shiftsearch.experiments.run_folder import Run
from shiftsearch.search.study.records import stored_trials
from tests.experiments.protocol_results import finished_run, job
from tests.experiments.stored_runs import stored_run

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """Restore the process's settings that `main` changes."""
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger().level
    with warnings.catch_warnings():
        yield
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger().setLevel(level)


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def status(run: Run, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The JSON document; also checks that nothing in the folder changed."""
    before = contents(run.folder)
    assert main(["status", str(run.folder), "--json"]) == 0
    assert contents(run.folder) == before
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, Any] = json.loads(out)
    return document


def lines_of(command: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [" ".join(line.split()) for line in out.splitlines()]


def left_by(run: Run, **changes: Any) -> None:
    """The status of a driver with one running trial."""
    board = Board("tests", 8, {}, stored_trials(run.journal)[:3])
    board.enter("search", 8, 3)
    board.started(job(3))
    content = board.snapshot() | {"written": "2026-11-23T04:00:00.000+00:00", "beat": 5}
    run.status.write_text(json.dumps(content | {"process": this_process()} | changes))


def finish(run: Run) -> None:
    result, _ = finished_run()
    result["search"] |= {"asked": 8, "complete": 8, "pruned": 0, "failed": 0}
    run.result.write_text(json.dumps(result))
    run.report.write_text("report")
    run.bundle.mkdir()


def test_a_running_driver_is_shown_as_it_shows_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run")
    board = Board("tests", 8, {"baseline": 4})
    with Heartbeat(run.status, board):
        board.enter("search", 8)
        Heartbeat(run.status, board)._write()
        document = status(run, capsys)
        lines = lines_of(["status", str(run.folder)], capsys)
    here = this_process()
    assert document["driver"]["alive"]
    assert document["driver"]["text"].startswith(f"process {os.getpid()} on {here['host']} ")
    assert (document["phase"], document["outcome"], document["result"]) == ("search", None, None)
    assert (document["schema"], document["source"]) == (SCHEMA, "status.json")
    assert lines[:3] == [str(run.folder), document["driver"]["text"], "search 0 of 8 done"]


@pytest.mark.parametrize(
    "process",
    [
        this_process() | {"started": "1"},  # its number is another's by now
        {"host": "elsewhere", "pid": 7, "started": "1", "machine": "other"},
    ],
    ids=["here", "elsewhere"],
)
def test_a_dead_driver_s_run_is_told_from_its_study(
    tmp_path: Path, process: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run")
    left_by(run, process=process)
    os.utime(run.status, (1e9, 1e9))
    document = status(run, capsys)
    assert document["driver"]["alive"] is False
    text = document["driver"]["text"]
    assert "2026-11-23 04:00:00 UTC (process " in text
    assert text.endswith(f"; `shiftsearch search --run {run.folder}` continues it")
    assert (document["source"], document["outcome"]) == ("study.journal", None)
    assert document["counts"]["done"] == 8  # the study went on after the last sign
    assert (document["running"], document["seconds_left"]) == ([], None)
    lines = lines_of(["status", str(run.folder), "--watch"], capsys)  # nothing to wait for
    assert " ".join(lines).count("continues it") == 1


@pytest.mark.parametrize("known", [True, False], ids=["with-status", "older-version"])
def test_a_finished_run_shows_its_outcome_and_what_was_made(
    known: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run", old=not known)
    finish(run)
    if known:
        left_by(run, outcome="complete", phase="ended", running=[])
    document = status(run, capsys)
    assert (document["phase"], document["outcome"]) == ("ended", "complete")
    assert document["driver"]["alive"] is (False if known else None)
    assert document["result"]["winner"]["label"] == "held out"
    lines = lines_of(["status", str(run.folder)], capsys)
    assert lines[2].startswith("complete")
    assert lines[-4:] == [
        "winner: trial 17, 95.67 % [93.61, 97.09] on TEST2 (held out, n = 542)",
        "reference: trial 0, 81.35 % [77.85, 84.40] on TEST2 (held out, n = 542)",
        f"report: {run.report}",
        f"model: {run.bundle}",
    ]


@pytest.mark.parametrize("then", [{"asked": 6, "complete": 6}, {"complete": 6, "stopped": "so"}])
def test_a_run_that_went_on_after_its_result_is_not_complete(
    then: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was extended, or stopped and continued, and killed while the best were retrained."""
    run = stored_run(tmp_path / "run")
    finish(run)
    result = json.loads(run.result.read_text())
    run.result.write_text(json.dumps(result | {"search": result["search"] | then}))
    left_by(run, process=this_process() | {"started": "1"})
    document = status(run, capsys)
    assert (document["phase"], document["outcome"]) == ("search", None)
    assert (document["result"], document["stop_reason"]) == (None, "")


def test_a_run_without_status_and_result_is_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run")
    document = status(run, capsys)
    assert (document["phase"], document["outcome"]) == ("search", None)
    assert (document["driver"]["alive"], document["result"]) == (None, None)
    assert "status.json" in document["driver"]["text"]
    run.definition.unlink()  # all that is left is the study
    assert status(run, capsys)["counts"]["done"] == 8


def test_watching_ends_with_the_run_and_says_each_change_once_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored_run(tmp_path / "run")
    board = Board("tests", 8, {})
    heartbeat = Heartbeat(run.status, board)
    acts = [
        lambda: board.enter("search", 8, 2),
        lambda: None,
        lambda: board.enter("search", 8, 3),
        lambda: board.close("interrupted"),
    ]

    def sleep(seconds: float) -> None:
        acts.pop(0)()
        heartbeat._write()

    heartbeat._write()
    monkeypatch.setattr("shiftsearch.experiments.live.inspection.time.sleep", sleep)
    lines = lines_of(["status", str(run.folder), "--watch"], capsys)
    assert lines[:3] == [
        "starting: 0 of 8 done",
        "search: 2 of 8 done",
        "search: 3 of 8 done",
    ]
    assert lines[3] == str(run.folder)
    assert lines[4].endswith(f"; `shiftsearch search --run {run.folder}` continues it")
    assert lines[5].startswith("interrupted")


def test_watching_ends_at_ctrl_c_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    run = stored_run(tmp_path / "run")
    left_by(run)
    monkeypatch.setattr("shiftsearch.experiments.live.inspection.time.sleep", sleep)
    assert lines_of(["status", str(run.folder), "--watch"], capsys) == ["search: 3 of 8 done"]


def test_the_csv_is_trials_csv_sorted_and_cut_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run")
    before = contents(run.folder)
    frame = trials_frame(stored_trials(run.journal))
    main(["trials", str(run.folder), "--csv"])
    assert capsys.readouterr().out == frame.to_csv(index=False)
    main(["trials", str(run.folder), "--csv", "--top", "3"])
    best = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    values = [float(row["test2_accuracy"]) for row in best]
    assert values == sorted(frame.test2_accuracy, reverse=True)[:3]
    main(["trials", str(run.folder), "--csv", "--sort", "branch_of"])
    roots = [r["branch_of"] for r in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    filled = [int(root) for root in roots if root]
    assert filled == sorted(filled)
    assert roots[len(filled) :] == [""] * (8 - len(filled))  # missing last
    assert 0 < len(filled) < 8
    assert contents(run.folder) == before


def test_the_table_fits_and_shows_what_it_is_sorted_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored_run(tmp_path / "run")
    for width, column in ((80, "dropout"), (80, "batch_size"), (45, "batch_size")):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["trials", str(run.folder), "--sort", f"baseline.{column}"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert all(len(line) <= width for line in lines)
        words = " ".join(lines).split()
        assert {"trial", "state", "dropout", "batch_size", "layers"} <= set(words)
    left_out = lines[-2:]
    assert " ".join(left_out).startswith("left out: role, TEST2 before, epochs, time; a wider")
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["trials", str(run.folder)]) == 0
    header = capsys.readouterr().out.splitlines()[2].split()
    assert header[:7] == ["trial", "state", "role", "before", "after", "epochs", "time"]
    assert header[7:] == ["batch_size", "dropout", "layers"]  # those that vary


def test_a_journal_that_is_being_written_shows_what_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run")
    content = run.journal.read_bytes()
    for keep in (len(content) - 1, len(content) // 2, 10, 0):
        run.journal.write_bytes(content[:keep])
        before = contents(run.folder)
        assert main(["trials", str(run.folder)]) == 0
        assert main(["status", str(run.folder)]) == 0
        assert contents(run.folder) == before
    assert "no trials yet" in capsys.readouterr().out


@pytest.mark.slow(reason="another process writes while this one reads a hundred times")
def test_a_journal_is_read_whole_while_its_driver_writes(tmp_path: Path) -> None:
    whole, live = stored_run(tmp_path / "whole"), tmp_path / "study.journal"
    content = whole.journal.read_bytes()
    live.write_bytes(b"")
    code = (
        "import sys, time\n"
        "content = open(sys.argv[1], 'rb').read()\n"
        "with open(sys.argv[2], 'ab', buffering=0) as file:\n"
        "    for start in range(0, len(content), 211):\n"
        "        file.write(content[start:start + 211]); time.sleep(0.002)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(whole.journal), str(live)])
    seen = [0]
    while writer.poll() is None:
        trials = stored_trials(live)
        seen.append(len(trials))
        time.sleep(0.01)
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert stored_trials(live) == stored_trials(whole.journal)
    assert live.read_bytes() == content


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("status {at}/none", "{at}/none: is not a run; it has no study.journal"),
        ("status {at} --watch", "{at}: is not a run; it has no study.journal"),
        ("trials {at}/none", "{at}/none: is not a run; it has no study.journal"),
        ("trials {at}/bad", "{at}/bad/study.journal, line 1: is damaged (JSONDecodeError: "),
        ("status {at}/bad", "{at}/bad/study.journal, line 1: is damaged (JSONDecodeError: "),
        ("trials {at}/run --top 0", "--top 0: must be at least 1"),
        (
            "trials {at}/run --sort frozen_layer",
            "--sort frozen_layer: trials.csv has no such column; nearest: fine_tune.",
        ),
    ],
)
def test_wrong_input_is_one_line(
    command: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_run(tmp_path / "run")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "study.journal").write_text("nonsense\n")
    before = contents(tmp_path)
    assert main([word.format(at=tmp_path) for word in command.split()]) == WRONG_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    (problem,) = err.splitlines()
    assert problem.startswith(line.format(at=tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.slow(reason="starts the command in a process of its own")
def test_looking_brings_neither_torch_nor_ray_and_a_closed_pipe_is_no_error(
    tmp_path: Path,
) -> None:
    run = stored_run(tmp_path / "run")
    code = (
        "import sys; from shiftsearch.experiments.cli import main\n"
        "codes = [main([c, sys.argv[1]]) for c in ('status', 'trials')]\n"
        "assert codes == [0, 0] and not {'torch', 'ray', 'matplotlib'} & set(sys.modules)\n"
    )
    repository = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "-c", code, str(run.folder)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    left_by(run)  # by this process, which lives: it could be watched for long
    for command in (["trials", "--csv"], ["status"], ["status", "--watch"]):
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(
            [sys.executable, "-m", "shiftsearch.experiments.cli", *command, str(run.folder)],
            env=environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=20,
        )
        os.close(writer)
        assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("named", "column"),
    [("after", "test2_accuracy_after"), ("time", "seconds"), ("frozen_layers", None)],
)
def test_trials_are_sorted_by_what_the_table_calls_its_columns(
    tmp_path: Path, named: str, column: str | None
) -> None:
    frame = trials_frame(stored_trials(stored_run(tmp_path / "run").journal))
    assert column_of(frame, named) == (column or f"fine_tune.{named}")


def test_an_ambiguous_column_names_all_it_could_be(tmp_path: Path) -> None:
    frame = trials_frame(stored_trials(stored_run(tmp_path / "run").journal))
    with pytest.raises(WrongOption, match=r"baseline\.dropout and fine_tune\.dropout"):
        column_of(frame, "dropout")


def test_a_driver_that_died_while_retraining_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run")
    retrain = {"wanted": 4, "done": 1, "pruned": 0, "failed": 0, "lost": 0}
    left_by(run, process=this_process() | {"started": "1"}, phase="retrain", retrain=retrain)
    document = status(run, capsys)
    assert document["driver"]["alive"] is False
    assert (document["phase"], document["retrain"]) == ("retrain", retrain)
    assert "1 of 4 done" in " ".join(lines_of(["status", str(run.folder)], capsys))


def test_the_command_that_continues_a_run_is_one_that_a_shell_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "my run; ls")
    left_by(run, outcome="interrupted")
    assert main(["stop", str(run.folder)]) == WRONG_INPUT
    quoted = capsys.readouterr().err.split("`")[1::2]
    assert quoted
    for text in quoted:
        assert shlex.split(text) == ["shiftsearch", "search", "--run", str(run.folder)]
