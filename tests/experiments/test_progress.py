"""Plain lines in a pipe, a calm view in a terminal, and no exception from either."""

from __future__ import annotations

import io
from typing import Literal

import pytest
from rich.console import Console

from experiments import progress
from experiments.progress import Progress
from search.jobs import Job
from tests.experiments.protocol_results import EPOCH, complete, failed, job, protocol_result

pytestmark = pytest.mark.unit


class Clock:
    """`time.monotonic` under the test's control, in seconds."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


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
    with Progress(Console(file=pipe, width=40), concurrency=2) as told:
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
    assert lines[3].startswith("trial-0002 lost its worker after 3 s (node died); ")
    assert "1 of 4 done, 1 failed, 1 lost and handed out again" in lines[3]
    assert lines[4] == (
        "search ended after 33 s: 1 of 4 done, 1 failed, 1 lost and handed out again; "
        "best: trial-0000, 17.35 % -> 93.70 % on TEST2, selection part"
    )
    assert lines[5] == "retrain: 1 of 2 done; 2 at once"
    assert lines[6].startswith("retrain ended")
    assert len(lines) == 7
    assert all(c.isprintable() or c == "\n" for c in pipe.seen)


def test_time_left_counts_what_runs_already(clock: Clock) -> None:
    told = Progress(Console(file=io.StringIO()), concurrency=2)
    told.phase("search", total=4, done=0)
    run(told, clock, job(0), after=0.9, seconds=30)
    assert told._seconds_left() == 45  # three jobs, two at once
    told.started(job(1))
    clock.now += 10
    assert told._seconds_left() == 40
    clock.now += 100  # longer than the median: counted as nearly done
    assert told._seconds_left() == 30
    told.ended(job(1), "failed", "diverged", None)
    assert told._seconds_left() == 45  # the search makes up for it by another trial


@pytest.mark.parametrize(("phase", "left"), [("search", 30.0), ("retrain", None)])
def test_a_failed_replicate_is_not_waited_for(
    clock: Clock, phase: Literal["search", "retrain"], left: float | None
) -> None:
    told = Progress(Console(file=io.StringIO()), concurrency=1)
    told.phase(phase, total=2, done=0)
    first, second = (job(0), job(1)) if phase == "search" else (job(0, 1), job(0, 2))
    run(told, clock, first, after=0.9, seconds=30)
    told.started(second)
    told.ended(second, "failed", "diverged", None)
    assert told._seconds_left() == left


def test_a_repeat_in_the_middle_of_the_search_is_none_of_its_trials(clock: Clock) -> None:
    pipe = io.StringIO()
    told = Progress(Console(file=pipe), concurrency=1)
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
    with Progress(Console(file=pipe), 1, trials) as told:
        told.phase("search", total=4, done=2)
        run(told, clock, job(3), after=0.9)
        told.phase("retrain", total=1, done=0)
        run(told, clock, job(3, replicate=1), after=0.99)  # a replicate is no incumbent
    lines = pipe.getvalue().splitlines()
    assert lines[0] == "search: 2 of 4 done, 1 failed; 1 at once"
    assert lines[1].endswith("17.35 % -> 90.00 %; 3 of 4 done, 1 failed, about 28 s left")
    assert "best: trial-0002, 17.00 % -> 95.00 % on TEST2, selection part" in lines[2]
    assert "best" not in "".join(lines[3:])


def test_a_terminal_shows_what_runs_and_keeps_only_troubles(clock: Clock) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=110, height=30)
    with Progress(console, concurrency=10) as told:
        told.phase("search", total=24, done=0)
        run(told, clock, job(0), after=0.937)
        for number in range(1, 11):
            told.started(job(number))
        told.epoch(job(1), "fine_tune", EPOCH)
        told.epoch(job(3), "rung_1", EPOCH)
        told.started(job(11))
        told.ended(job(11), "failed", "diverged", None)
        view = io.StringIO()
        Console(file=view, width=110).print(told._view())
    lines = [line.strip() for line in view.getvalue().splitlines()]
    assert lines[0].startswith("search")
    assert lines[0].endswith("1 of 24 done  1 failed  about 1 min 09 s left")
    assert " ".join(lines[1].split()) == "trial-0001 fine_tune epoch 1 validation 62.50 %"
    assert lines[2].split() == ["trial-0002", "starting"]
    assert " ".join(lines[3].split()).startswith("trial-0003 fine_tune, rung 1 epoch 1")
    assert lines[9] == "and 2 more"
    assert lines[10] == ("best so far: trial-0000, 17.35 % -> 93.70 % on TEST2, selection part")
    assert "trial-0011 failed after 0 s: diverged" in screen.getvalue()
    assert "complete in" not in screen.getvalue()


def test_a_broken_pipe_does_not_end_the_search(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    def gone() -> None:  # as rich does it, without touching this process's own output
        raise SystemExit(1)

    console = Console(file=Broken())
    monkeypatch.setattr(console, "on_broken_pipe", gone)
    with Progress(console, concurrency=1) as told:
        told.phase("search", total=2, done=0)
        run(told, clock, job(0), after=0.9)
    assert told._done == 1


def test_an_event_out_of_turn_does_not_raise(clock: Clock) -> None:
    told = Progress(Console(file=io.StringIO()), concurrency=1)
    told.epoch(job(7), "baseline", EPOCH)
    told.ended(job(7), "complete", "", {"test2_accuracy": 0.5})
