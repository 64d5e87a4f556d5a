"""The board counts, remembers and estimates; its snapshot is plain JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.view import best_line
from shiftsearch.model.objective import BALANCED_ACCURACY
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place
from tests.experiments.live.conftest import Clock
from tests.experiments.protocol_results import (
    EPOCH,
    branch,
    complete,
    failed,
    job,
    protocol_result,
    pruned,
    waiting,
)
from tests.made_results import with_scores

pytestmark = pytest.mark.unit


def told(phase: str = "search", wanted: int = 4, concurrency: int = 2) -> Board:
    made = Board("tests", wanted, {"baseline": 15, "fine_tune": 12})
    made.concurrency = concurrency
    made.enter(phase, wanted)  # type: ignore[arg-type]
    return made


def run(told: Board, clock: Clock, done: Job, after: float, seconds: float = 30.0) -> None:
    told.started(done)
    clock.now += seconds
    told.ended(done, "complete", "", protocol_result(0.1735, after))


def test_the_best_is_that_of_the_objective(clock: Clock) -> None:
    made = Board("tests", 4, {}, objective=BALANCED_ACCURACY)
    made.enter("search", 4)
    for number, (accuracy, balanced) in enumerate(((0.9, 0.5), (0.6, 0.75), (0.8, 0.625))):
        made.started(job(number))
        result = with_scores(protocol_result(0.1, accuracy), balanced)
        made.ended(job(number), "complete", "", result)
    snapshot = made.snapshot()
    assert snapshot["objective"] == "balanced_accuracy"
    assert (snapshot["best"]["trial"], snapshot["best"]["after"]) == (1, 0.75)
    assert snapshot["best"]["before"] == 0.375
    assert "balanced accuracy 37.50 % -> 75.00 %" in best_line(snapshot)
    plain = {**snapshot, "objective": "accuracy"}
    del plain["objective"]  # as an earlier version wrote it
    assert "accuracy" not in best_line(plain)


def test_a_snapshot_shows_who_runs_where_and_how_far_and_is_json(clock: Clock) -> None:
    made = told()
    assert made.snapshot()["seconds_left"] is None
    for started in (replace(job(5), branch_of=2), job(6), job(2, replicate=1)):
        made.started(started)
    made.placed(job(5), Place("host-a", "0a", "cuda 0"))
    made.placed(job(6), Place("host-a", "0a", "cpu"))
    made.epoch(job(5), "fine_tune", EPOCH)
    made.epoch(job(6), "rung_3", EPOCH)
    clock.now += 7
    snapshot = made.snapshot()
    assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot
    first, second, third = snapshot["running"]
    assert first.pop("since").endswith("+00:00")
    assert first == {
        "name": "trial-0005",
        "phase": "search",
        "trial": 5,
        "replicate": 0,
        "role": "sampled",
        "branch_of": 2,
        "state": "running",
        "stage": "fine_tune",
        "epoch": 1,
        "max_epochs": 12,
        "validation_accuracy": 0.625,
        "node": "host-a",
        "node_id": "0a",
        "device": "cuda 0",
        "seconds": 7.0,
    }
    assert (second["stage"], second["max_epochs"]) == ("rung_3", 12)
    assert (second["state"], third["state"]) == ("running", "waiting")
    assert (third["name"], third["stage"], third["max_epochs"]) == (
        "retrain-0002-replicate-1",
        "",
        None,
    )
    assert snapshot["workers"] == [
        {"node": "host-a", "node_id": "0a", "device": "cpu", "jobs": 1},
        {"node": "host-a", "node_id": "0a", "device": "cuda 0", "jobs": 1},
    ]
    assert snapshot["places"] == []
    assert snapshot["counts"] == {
        "wanted": 4,
        "done": 0,
        "pruned": 0,
        "failed": 0,
        "lost": 0,
        "refused": 0,
        "running": 2,
        "waiting": 1,
    }


def test_what_ended_is_counted_and_the_last_five_of_each_kind_are_kept(clock: Clock) -> None:
    made = told(wanted=9)
    for number in range(6):
        run(made, clock, job(number), after=0.9 + 0.01 * (number % 3))
    for number, state in enumerate(("failed", "lost", "pruned"), start=6):
        made.started(job(number))
        made.ended(job(number), state, "because\n\x1b[31mof it", None)
    snapshot = made.snapshot()
    assert snapshot["counts"] == {
        "wanted": 9,
        "done": 7,
        "pruned": 1,
        "failed": 1,
        "lost": 1,
        "refused": 0,
        "running": 0,
        "waiting": 0,
    }
    assert [e["trial"] for e in snapshot["ended"]] == [2, 3, 4, 5, 8]
    assert [e["state"] for e in snapshot["ended"]] == ["complete"] * 4 + ["pruned"]
    assert [(f["trial"], f["state"], f["reason"]) for f in snapshot["failures"]] == [
        (6, "failed", "because [31mof it"),
        (7, "lost", "because [31mof it"),
    ]
    assert snapshot["best"] == {"name": "trial-0002", "trial": 2, "before": 0.1735, "after": 0.92}
    assert [e["best"] for e in snapshot["ended"]] == [True, False, False, False, False]


def test_a_continued_run_knows_what_came_before(clock: Clock) -> None:
    trials = [complete(0, 0.8), failed(1, "diverged"), branch(2, 0.95, 0), pruned(3, {1: 0.5})]
    made = Board("tests", 8, {}, [*trials, waiting(4)])
    snapshot = made.snapshot()
    assert (snapshot["phase"], snapshot["outcome"]) == ("starting", None)
    assert snapshot["counts"]["done"] == 3
    assert (snapshot["counts"]["failed"], snapshot["counts"]["pruned"]) == (1, 1)
    assert snapshot["best"]["trial"] == 2
    assert [(e["trial"], e["branch_of"]) for e in snapshot["ended"]] == [
        (0, None),
        (2, 0),
        (3, None),
    ]
    made.enter("search", wanted=8, done=3)
    assert made.snapshot()["counts"]["failed"] == 1
    assert made.snapshot()["seconds_left"] == 27.5 * 5
    made.enter("retrain", wanted=2, done=1)
    made.ended(job(2, 1), "failed", "diverged", None)
    assert made.snapshot()["retrain"] == {
        "wanted": 2,
        "done": 1,
        "pruned": 0,
        "failed": 1,
        "lost": 0,
        "refused": 0,
    }
    assert made.snapshot()["counts"]["done"] == 3  # the search's stay


def test_refused_trials_are_counted_apart(clock: Clock) -> None:
    refused = [replace(waiting(number), state="refused") for number in (1, 2)]
    made = Board("tests", 8, {}, [complete(0, 0.8), *refused])
    counts = made.snapshot()["counts"]
    assert (counts["refused"], counts["done"], counts["failed"]) == (2, 1, 0)
    before = made.version
    made.refusals(2)
    assert made.version == before
    made.refusals(5)
    assert made.version > before
    assert made.snapshot()["counts"]["refused"] == 5


def test_time_left_counts_what_runs_already(clock: Clock) -> None:
    made = told()
    run(made, clock, job(0), after=0.9, seconds=30)
    assert made.snapshot()["seconds_left"] == 45  # three jobs, two at once
    made.started(job(1))
    clock.now += 10
    assert made.snapshot()["seconds_left"] == 40
    clock.now += 100  # longer than the median: counted as nearly done
    assert made.snapshot()["seconds_left"] == 30
    made.ended(job(1), "failed", "diverged", None)
    assert made.snapshot()["seconds_left"] == 45  # the search makes up for it by another trial
    made.want(8)
    assert made.snapshot()["seconds_left"] == 105
    made.started(replace(job(2), branch_of=0))
    made.ended(replace(job(2), branch_of=0), "complete", "", protocol_result(0.1, 0.2))
    assert made.snapshot()["seconds_left"] == 45  # six, each as long as the median of 30 and 0
    made.enter("concluding")
    assert made.snapshot()["seconds_left"] is None


@pytest.mark.parametrize(("phase", "left"), [("search", 30.0), ("retrain", None)])
def test_a_failed_replicate_is_not_waited_for(
    clock: Clock, phase: str, left: float | None
) -> None:
    made = told(phase, wanted=2, concurrency=1)
    first, second = (job(0), job(1)) if phase == "search" else (job(0, 1), job(0, 2))
    run(made, clock, first, after=0.9, seconds=30)
    made.started(second)
    made.ended(second, "failed", "diverged", None)
    assert made.snapshot()["seconds_left"] == left


def test_the_first_outcome_stays_and_the_version_counts_what_it_was_told(clock: Clock) -> None:
    made = told()
    versions = [made.version]
    made.started(job(0))
    versions.append(made.version)
    made.stopping("asked to")
    versions.append(made.version)
    made.stopping("asked to")  # nothing new
    assert made.version == versions[-1]
    assert versions == sorted(set(versions))
    made.close("error", "OSError: full\n disk")
    made.close("complete")
    snapshot = made.snapshot()
    assert (snapshot["phase"], snapshot["outcome"]) == ("ended", "error")
    assert (snapshot["message"], snapshot["stop_reason"]) == ("OSError: full disk", "asked to")
    assert snapshot["running"] == []


def test_events_out_of_turn_do_no_harm(clock: Clock) -> None:
    made = told()
    made.placed(job(7), Place("host", "", "cpu"))
    made.epoch(job(7), "baseline", EPOCH)
    made.ended(job(7), "failed", "unheard of", None)
    assert made.snapshot()["counts"]["failed"] == 1
