"""A search that gave up is continued: one trial first; failed ones again if they are asked for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import shiftsearch.experiments.searching
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.outcome.training import Training
from shiftsearch.experiments.outcome.trainings import forget_failed
from shiftsearch.experiments.run_folder import Run
from shiftsearch.search.executing.jobs import JobSource, Listener
from shiftsearch.search.executing.resources import Node
from shiftsearch.search.study.records import stored_trials
from tests.made_results import made_result

pytestmark = pytest.mark.integration

FULL = "OSError: No space left on device"
DIVERGED = "baseline epoch 1: training loss nan; both must be finite"

Search = Callable[..., int]


class Machine:
    """Does jobs as planned: fails them for a reason, or, without one, ends `good` of them."""

    def __init__(self) -> None:
        self.reason, self.good, self.asked = FULL, 0, list[int]()

    def __call__(self, source: JobSource, listeners: Sequence[Listener], *_: Any) -> None:
        del listeners
        self.asked = []
        while not source.finished and (self.reason or len(self.asked) < self.good):
            job = source.ask()
            assert job is not None
            self.asked.append(job.number)
            if self.reason:
                source.fail(job, self.reason)
            else:
                source.finish(job, made_result(0.5))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made, module = Machine(), shiftsearch.experiments.searching
    monkeypatch.setattr(module, "run_jobs", made)
    monkeypatch.setattr(module, "cluster", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(module, "cluster_nodes", lambda: [Node(1.0, 0.0)])
    return made


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return lambda *more: main(["search", "demo", "--run", str(tmp_path / "run"), *more])


def test_a_search_that_gave_up_tries_one_trial_first(
    search: Search, machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search() == 3
    assert machine.asked == [0, 1, 2, 3, 4]
    capsys.readouterr()
    assert search() == 3
    assert machine.asked == [5]
    assert "one trial is tried first" in capsys.readouterr().out
    machine.reason, machine.good = "", 4
    assert search() == 75  # interrupted, after the probe went well
    assert machine.asked == [6, 7, 8, 9]
    machine.good = 2
    assert search("--retry-failed") == 75
    first, second = 10, 11
    assert machine.asked == [first, second]
    assert "trial 0 as 10" in capsys.readouterr().out
    trials = stored_trials(Run(tmp_path / "run").journal)
    assert [t.retry_of for t in trials[10:]] == [0, 1, 2, 3, 4, 5]
    assert trials[first].role == "reference"
    table = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert table.retry_of[10:].tolist() == [0, 1, 2, 3, 4, 5]


def test_divergence_is_an_answer_unless_all_are_asked_for(
    search: Search, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.reason = DIVERGED
    assert search() == 3
    machine.asked = []
    assert search() == 3
    assert search("--retry-failed") == 3
    assert machine.asked == []
    assert "nothing" in capsys.readouterr().out
    machine.reason, machine.good = "", 2
    assert search("--retry-failed", "all") == 75
    assert machine.asked == [5, 6]


def test_what_cannot_be_tried_again_is_one_line_and_writes_nothing(
    search: Search, machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("--retry-failed") == 2
    assert not (tmp_path / "run").exists()
    assert search() == 3
    journal = (tmp_path / "run" / "study.journal").read_bytes()
    capsys.readouterr()
    assert search("--retry-failed", "0,17") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("--retry-failed 0,17: ")
    assert (tmp_path / "run" / "study.journal").read_bytes() == journal
    assert machine.asked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("diverged", "kept"), [(False, {"good", "bad"}), (True, {"good"})])
def test_failed_retrainings_are_forgotten(tmp_path: Path, diverged: bool, kept: set[str]) -> None:
    path = tmp_path / "retrain.json"
    assert forget_failed(path, diverged=diverged) == 0
    assert not path.exists()
    trainings = {
        "good": Training(made_result(0.5)),
        "bad": Training(reason=DIVERGED),
        "full": Training(reason=FULL),
        "lost": Training(reason="lost its worker 4 times; last: killed", lost=True),
    }
    path.write_text(json.dumps({key: t.to_json() for key, t in trainings.items()}))
    assert forget_failed(path, diverged=diverged) == 4 - len(kept)
    assert set(json.loads(path.read_text())) == kept
