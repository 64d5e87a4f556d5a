"""Plain lines in a pipe, a calm view in a terminal, and no exception from either."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console

from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.progress import Progress
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.live.conftest import Clock
from tests.experiments.protocol_results import EPOCH, complete, failed, job, protocol_result

pytestmark = pytest.mark.unit


def progress_of(
    console: Console, concurrency: int, trials: Sequence[TrialRecord] = ()
) -> Progress:
    told = Board("tests", 4, {"baseline": 15, "fine_tune": 12}, trials)
    told.concurrency = concurrency
    return Progress(console, told)


def run(told: Progress, clock: Clock, done: Job, after: float, seconds: float = 30.0) -> None:
    told.started(done)
    told.epoch(done, "baseline", EPOCH)
    clock.now += seconds
    told.ended(done, "complete", "", protocol_result(0.1735, after))


def test_a_pipe_gets_one_plain_flushed_line_per_event(clock: Clock) -> None:
    class Pipe(io.StringIO):
        seen = ""

        def flush(self) -> None:
            self.seen = self.getvalue()

    pipe = Pipe()
    with progress_of(Console(file=pipe, width=40), concurrency=2) as told:
        told.phase("search", total=4, done=0)
        run(told, clock, job(0), after=0.937)
        assert pipe.seen.splitlines() == [
            "search: 0 of 4 done; 2 at once",
            "trial-0000 complete in 30 s: TEST2, selection part, 17.35 % -> 93.70 %, "
            "the best so far; 1 of 4 done, about 45 s left",
        ]
        told.started(job(1))
        told.ended(job(1), "failed", "loss [red]nan[/red]\n\x1b[31m at epoch 3", None)
        told.started(job(2))
        clock.now += 3
        told.ended(job(2), "lost", "node died", None)
        told.phase("retrain", total=2, done=1)
    lines = pipe.seen.splitlines()
    assert lines[2].startswith("trial-0001 failed after 0 s: loss [red]nan[/red] [31m at epoch 3;")
    assert lines[3].startswith("trial-0002 lost after 3 s: node died; ")
    assert "1 of 4 done, 1 failed, 1 lost and handed out again" in lines[3]
    assert lines[4] == (
        "search ended after 33 s: 1 of 4 done, 1 failed, 1 lost and handed out again; "
        "best: trial-0000, 17.35 % -> 93.70 % on TEST2, selection part"
    )
    assert lines[5] == "retrain: 1 of 2 done; 2 at once"
    assert lines[6].startswith("retrain ended")
    assert len(lines) == 7
    assert all(c.isprintable() or c == "\n" for c in pipe.seen)


def test_a_repeat_in_the_middle_of_the_search_is_none_of_its_trials(clock: Clock) -> None:
    pipe = io.StringIO()
    told = progress_of(Console(file=pipe), concurrency=1)
    told.phase("search", total=4, done=0)
    run(told, clock, job(0), after=0.9, seconds=30)
    run(told, clock, job(0, replicate=1), after=0.95, seconds=90)
    told.started(job(0, replicate=2))
    told.ended(job(0, replicate=2), "failed", "diverged", None)
    lines = pipe.getvalue().splitlines()
    assert lines[2].endswith("17.35 % -> 95.00 %; 1 of 4 done, about 1 min 30 s left")
    assert lines[3].endswith("failed after 0 s: diverged; 1 of 4 done, about 1 min 30 s left")


def test_a_continued_run_knows_its_best_its_failures_and_its_times(clock: Clock) -> None:
    pipe = io.StringIO()
    trials = [complete(0, 0.8), failed(1, "diverged"), complete(2, 0.95)]
    with progress_of(Console(file=pipe), 1, trials) as told:
        told.phase("search", total=4, done=2)
        run(told, clock, job(3), after=0.9)
        told.phase("retrain", total=1, done=0)
        run(told, clock, job(3, replicate=1), after=0.99)  # a replicate is no incumbent
    lines = pipe.getvalue().splitlines()
    assert lines[0] == "search: 2 of 4 done, 1 failed; 1 at once"
    assert lines[1].endswith("17.35 % -> 90.00 %; 3 of 4 done, 1 failed, about 28 s left")
    assert "best: trial-0002, 17.00 % -> 95.00 % on TEST2, selection part" in lines[2]
    assert "best" not in "".join(lines[3:])


def test_a_terminal_keeps_phases_and_their_failures_above_the_view(clock: Clock) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)
    with progress_of(console, concurrency=2) as told:
        told.phase("search", total=2, done=0)
        run(told, clock, job(0), after=0.937)
        told.started(job(1))
        told.ended(job(1), "failed", "diverged", None)
        assert "failed after" not in screen.getvalue()
        told.phase("retrain", total=1, done=0)
        told.started(job(0, replicate=1))
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    lines = [line.strip() for line in plain.splitlines()]
    assert [line for line in lines if line.endswith("at once") or " after " in line] == [
        "search: 0 of 2 done; 2 at once",
        "search ended after 30 s: 1 of 2 done, 1 failed; best: trial-0000, 17.35 % -> 93.70 % "
        "on TEST2, selection part",
        "trial-0001 failed after 0 s: diverged",
        "retrain: 0 of 1 done; 2 at once",
        "retrain ended after 0 s: 0 of 1 done",
    ]


def test_a_phase_ends_with_its_own_failures_whatever_jobs_are_called(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "name", property(lambda job: f"{job.number}/{job.replicate}"))
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24, color_system=None)
    with progress_of(console, concurrency=2) as told:
        for phase, failing in (("search", job(1)), ("retrain", job(2, replicate=3))):
            told.phase(phase, total=2, done=0)
            told.started(failing)
            told.ended(failing, "failed", "diverged", None)
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    said = [line.split()[0] for line in map(str.strip, plain.splitlines()) if " after " in line]
    assert said == ["search", "1/0", "retrain", "2/3"]


def test_an_event_out_of_turn_is_shown_and_harms_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = io.StringIO()
    told = progress_of(Console(file=pipe), concurrency=1)
    told.epoch(job(7), "baseline", EPOCH)
    told.placed(job(7), Place("node", "", "cpu"))
    told.ended(job(7), "complete", "", protocol_result(0.1735, 0.5))
    assert pipe.getvalue().splitlines() == [
        "trial-0007 complete in 0 s: TEST2, selection part, 17.35 % -> 50.00 %, the best so far; "
        "0 of 4 done"
    ]
    assert caplog.records == []  # what a listener raises is logged there
