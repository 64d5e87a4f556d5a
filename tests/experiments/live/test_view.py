"""The view fits on one screen, and counts what does not fit."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.view import View
from shiftsearch.search.executing.places import Place
from tests.experiments.protocol_results import EPOCH, complete, failed, job, pruned

pytestmark = pytest.mark.unit


def lines_of(snapshot: dict[str, Any], width: int = 80, height: int | None = 24) -> list[str]:
    """The lines in a terminal of this size, or in a pipe if no height is given."""
    screen = io.StringIO()
    size = {} if height is None else {"height": height, "force_terminal": True, "no_color": True}
    Console(file=screen, width=width, color_system=None, **size).print(
        View(snapshot), crop=height is not None
    )  # type: ignore[arg-type]
    return screen.getvalue().splitlines()


def busy(jobs: int) -> dict[str, Any]:
    """A snapshot with running jobs on four nodes, and everything else that can be shown."""
    trials = [
        complete(0, 0.8),
        failed(1, "loss nan, " * 20),
        complete(2, 0.95),
        pruned(3, {1: 0.5}),
    ]
    board = Board("tests", 40, {"baseline": 15, "fine_tune": 12}, trials)
    board.concurrency = max(1, jobs)
    board.enter("search", 40, 3)
    for number in range(10, 10 + jobs):
        board.started(replace(job(number), branch_of=2 if number % 2 else None))
        board.placed(job(number), Place(f"node-{number % 4}", "", "cuda 0"))
    board.epoch(job(10), "baseline", EPOCH)
    board.epoch(job(11), "rung_3", EPOCH)
    for number, state in ((90, "lost"), (91, "failed"), (92, "failed")):
        board.started(job(number))
        board.ended(job(number), state, "worker lost: gone", None)
    board.stopping("asked to stop")
    return board.snapshot()


@pytest.mark.parametrize("jobs", [0, 1, 9, 64])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 16), (60, 24), (200, 60)])
def test_it_fits_and_every_job_is_shown_or_counted(jobs: int, width: int, height: int) -> None:
    lines = lines_of(busy(jobs), width, height)
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    running = [line for line in lines if line.startswith("trial-00") and line[8] != "9"]
    shown = sum(f"trial-{n:04d} " in line for n in range(10, 74) for line in running)
    more = [int(line.split()[1]) for line in lines if line.startswith("and ")]
    assert shown + sum(more) == jobs
    assert jobs == 0 or shown + len(more) >= 1


@pytest.mark.parametrize("width", [40, 60, 69, 70])
def test_a_narrow_screen_says_how_far_it_is(width: int) -> None:
    (line, *_) = lines_of(busy(3), width)
    assert line.startswith("search")
    assert "3 of 40 done" in line
    assert ("━" in line) == (width == 70)


def test_what_a_screen_says() -> None:
    lines = [" ".join(line.split()) for line in lines_of(busy(3), width=120)]
    assert lines[0].startswith("search ━")
    assert lines[0].endswith("3 of 40 done stopping, 3 still running")
    going = {**busy(3), "stop_reason": ""}
    assert "3 of 40 done about" in " ".join(lines_of(going, width=120)[0].split())
    assert lines[1] == "1 stopped early, 3 failed, 1 lost and handed out again"
    counted = {**busy(3), "counts": {**busy(3)["counts"], "refused": 7}}
    assert lines_of(counted, width=120)[1].strip().endswith("handed out again, 7 refused")
    assert lines[2] == (
        "3 of 3 workers busy: 1 on node-0 (cuda 0), 1 on node-2 (cuda 0), 1 on node-3 (cuda 0)"
    )
    assert lines[3] == "no more trials are asked for: asked to stop"
    assert lines[4] == "best so far: trial-0002, 17.00 % -> 95.00 % on TEST2, selection part"
    assert lines[5:9] == [
        "running stage epoch validation for baseline of",
        "trial-0010 baseline 1 of 15 62.50 % 0 s",
        "trial-0011 fine_tune, rung 3 1 of 12 62.50 % 0 s trial 2",
        "trial-0012 starting 0 s",
    ]
    assert lines[9:13] == [
        "ended TEST2, selection part in",
        "trial-0003 stopped at the rung of 1 epochs: 0.5000 3 s",
        "trial-0002 17.00 % -> 95.00 % 28 s best",
        "trial-0000 17.00 % -> 80.00 % 28 s",
    ]
    assert lines[13:16] == [
        "failures",
        "trial-0092 failed: worker lost: gone",
        "trial-0091 failed: worker lost: gone",
    ]
    assert lines[16] == "trial-0090 lost: worker lost: gone"


def test_a_pipe_gets_no_bar_and_no_control_character() -> None:
    lines = lines_of(busy(30), height=None)
    assert lines[0].startswith("search  3 of 40 done")
    assert len([line for line in lines if line.startswith("trial-00")]) >= 30
    assert all(c.isprintable() for line in lines for c in line)
    assert lines[-1].endswith("loss nan, loss nan,")  # the whole reason


def test_retraining_has_counts_of_its_own_and_the_end_says_how_it_ended() -> None:
    board = Board("tests", 1, {}, [complete(0, 0.8)])
    board.enter("retrain", 4, 1)
    assert "1 of 4 done" in lines_of(board.snapshot())[0]
    board.enter("concluding")
    assert lines_of(board.snapshot())[0].strip() == "scoring, exporting, reporting"
    board.close("error", "OSError: no space left")
    lines = lines_of(board.snapshot())
    assert lines[0].startswith("error")
    assert "1 of 1 done  in 0 s" in lines[0]
    assert lines[1:3] == ["retraining: 1 of 4 done", "OSError: no space left"]
