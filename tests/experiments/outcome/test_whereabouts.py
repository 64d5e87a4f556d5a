"""What each node and device did, in files, on the screen and in the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.view import View
from shiftsearch.experiments.outcome.repeats import Repeats
from shiftsearch.experiments.outcome.training import read_trainings
from shiftsearch.experiments.outcome.trainings import Trainings
from shiftsearch.experiments.outcome.trials_table import trials_frame
from shiftsearch.experiments.outcome.whereabouts import host_names, place_rows, uses_of
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.study.records import stored_trials
from tests.experiments.live.test_view import lines_of
from tests.experiments.protocol_results import job, protocol_result
from tests.made_results import made_result
from tests.search.fake_study import next_job, open_study, result_of

pytestmark = pytest.mark.unit

A, B = "a" * 56, "a" * 9 + "b" * 47
"""Node ids with the same beginning."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_trial_keeps_where_it_ran_last_and_how_long(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "study.journal"
    study = open_study(path, trials=3, clock=clock)
    first = next_job(study)
    study.placed(first, Place("one", A, "cuda 0"))
    clock.now = 5.0
    study.give_back(first, "killed")
    clock.now = 10.0
    first = next_job(study)
    study.placed(first, Place("one", B, "cuda 1"))
    clock.now = 12.5
    study.finish(first, result_of(first.configuration))
    second = next_job(study)
    study.placed(second, Place("one", A, "cuda 0"))
    clock.now = 13.0
    study.fail(second, "broken")
    third = next_job(study)
    study.finish(third, result_of(third.configuration))  # as in a run of an earlier version
    trials = stored_trials(path)
    ran = [Place("one", B, "cuda 1", 2.5), Place("one", A, "cuda 0", 0.5), None]
    assert [t.place for t in trials] == ran
    table = trials_frame(trials)
    assert table.node_id.tolist()[:2] == [B, A]
    assert table.busy_seconds.tolist()[:2] == [2.5, 0.5]
    assert table.host.isna().tolist() == [False, False, True]
    assert "host" not in trials_frame(trials[2:])
    retrained = [Place("one", A, "cuda 0", 4.0), Place("two", "", "cpu", 1.0)]
    assert uses_of(trials, retrained) == [
        {"host": "one", "node_id": A, "device": "cuda 0", "trials": [1]}
        | {"retrainings": 1, "seconds": 4.5},
        {"host": "one", "node_id": B, "device": "cuda 1", "trials": [0]}
        | {"retrainings": 0, "seconds": 2.5},
        {"host": "two", "node_id": "", "device": "cpu", "trials": []}
        | {"retrainings": 1, "seconds": 1.0},
    ]


def test_a_retraining_keeps_where_it_ran(tmp_path: Path) -> None:
    path = tmp_path / "retrain.json"
    trainings = Trainings(path, Protocol(), lambda _: True)
    wanted = [Job("retrain", 0, r, open_study(None, 1).space.reference) for r in (1, 2)]
    repeats = Repeats(trainings, wanted)
    for place in (Place("one", A, "cpu"), None):
        job = repeats.ask()
        assert job is not None
        if place is not None:
            repeats.placed(job, place)
        repeats.finish(job, made_result(0.5))
    first, second = read_trainings(path).values()
    assert first.place is not None
    assert (first.place.host, first.place.node_id, first.place.device) == ("one", A, "cpu")
    assert second.place is None
    assert "place" not in list(json.loads(path.read_text()).values())[1]


def test_hosts_of_one_name_are_kept_apart_by_their_node() -> None:
    names = host_names([("one", A), ("one", B), ("two", A), ("three", "")])
    assert names["two", A] == "two"
    assert names["three", ""] == "three"
    assert names["one", A] == f"one/{A[:10]}"
    assert names["one", B] == f"one/{B[:10]}"


def test_the_screen_says_what_each_node_did() -> None:
    board = Board("demo", 8, {})
    for number, node in enumerate((A, A, B)):
        board.started(job(number))
        board.placed(job(number), Place("one", node, "cpu"))
    text = "\n".join(lines_of(board.snapshot(), height=None))
    assert f"2 on one/{A[:10]} (cpu), 1 on one/{B[:10]} (cpu)" in text
    for number in (0, 1, 2):
        state = "lost" if number == 1 else "complete"
        board.ended(job(number), state, "", None if state == "lost" else protocol_result(0.4, 0.8))
    assert [(p["node_id"], p["jobs"]) for p in board.snapshot()["places"]] == [(A, 1), (B, 1)]
    text = "\n".join(lines_of(board.snapshot(), height=None))
    assert f"so far: 1 on one/{A[:10]} (cpu)" in text


def test_a_snapshot_of_an_earlier_version_is_shown() -> None:
    board = Board("demo", 8, {})
    board.started(job(0))
    board.placed(job(0), Place("one", "", "cpu"))
    snapshot = board.snapshot()
    del snapshot["places"], snapshot["workers"][0]["node_id"]
    assert "1 on one (cpu)" in "\n".join(lines_of(snapshot, height=None))
    assert View(snapshot)


def test_results_of_earlier_versions_have_no_places() -> None:
    assert place_rows({}) == []
    rows = uses_of([], [replace(Place("one", A, "cpu"), seconds=3.0)])
    assert [row["name"] for row in place_rows({"places": rows})] == ["one"]
