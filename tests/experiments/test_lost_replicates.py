"""A replicate whose workers were lost decides nothing: the same command trains it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import shiftsearch.experiments.searching
from shiftsearch.experiments.cli import main
from shiftsearch.search.executing.faults import EnvironmentFault
from shiftsearch.search.executing.jobs import JobSource, Listener
from shiftsearch.search.executing.resources import Node
from shiftsearch.search.executing.tune import run_jobs
from shiftsearch.search.study.study import MAX_LOSSES
from tests.made_results import made_result

pytestmark = pytest.mark.integration


def lose_the_reference(source: JobSource, listeners: Sequence[Listener], *_: Any) -> None:
    """Finishes all jobs but the reference's retraining, whose worker is killed every time."""
    del listeners
    losses = 0
    while not source.finished:
        job = source.ask()
        assert job is not None
        if job.phase == "retrain" and job.number == 0 and losses <= MAX_LOSSES:
            losses += 1
            source.give_back(job, "killed")
        else:
            source.share(job)
            source.finish(job, made_result(0.5 + 0.01 * job.number))


def test_the_search_ends_with_75_and_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    module = shiftsearch.experiments.searching
    monkeypatch.setattr(module, "run_jobs", lose_the_reference)
    monkeypatch.setattr(module, "cluster", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(module, "cluster_nodes", lambda: [Node(1.0, 0.0)])
    options = ["--set", "trials=3", "--set", "retrain={top_k: 1, replicates: 1}"]
    assert main(["search", "demo", "--run", str(run), *options]) == 75
    assert "workers were lost" in capsys.readouterr().err
    assert not (run / "result.json").exists()
    assert not (run / "best").exists()


def test_a_search_says_how_long_a_worker_may_be_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def end_at_once(*arguments: Any) -> None:
        given.extend(arguments)
        raise EnvironmentFault("the test is over")

    module = shiftsearch.experiments.searching
    monkeypatch.setattr(module, "run_jobs", end_at_once)
    monkeypatch.setattr(module, "cluster", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(module, "cluster_nodes", lambda: [Node(1.0, 0.0)])
    run = tmp_path / "run"
    assert main(["search", "demo", "--run", str(run), "--set", "failures.silent_seconds=7"]) == 75
    names = list(inspect.signature(run_jobs).parameters)
    assert dict(zip(names, given, strict=False))["silent_seconds"] == 7.0
