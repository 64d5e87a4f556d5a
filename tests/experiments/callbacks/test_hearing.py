"""Callbacks hear everything in order, and can harm nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.callbacks import hearing
from shiftsearch.experiments.callbacks.callback import Callback, Training
from shiftsearch.experiments.callbacks.hearing import Hearing
from tests.experiments.callbacks.heard import EXPERIMENT, RESULT, search
from tests.experiments.protocol_results import EPOCH, job

pytestmark = pytest.mark.unit


class Spy(Callback):
    """Keeps what it hears, and spoils what it is given."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.threads = set[str]()

    def begun(self, folder: Path, experiment: Mapping[str, Any]) -> None:
        self.heard.append(("begun", folder.name, dict(experiment)))
        experiment.clear()  # type: ignore[attr-defined]

    def started(self, training: Training) -> None:
        self.threads.add(threading.current_thread().name)
        self.heard.append(("started", training.name, training.configuration["baseline.dropout"]))
        training.configuration.clear()  # type: ignore[attr-defined]

    def epoch(self, training: Training, stage: str, row: Mapping[str, float]) -> None:
        self.heard.append(("epoch", training.name, stage, row["epoch"]))

    def ended(
        self, training: Training, state: str, reason: str, scores: Mapping[str, float]
    ) -> None:
        self.heard.append(("ended", training.name, state, reason, dict(scores)))

    def concluded(self, folder: Path, result: Mapping[str, Any]) -> None:
        self.heard.append(("concluded", dict(result)))


def test_everything_is_heard_in_order_in_another_thread_as_a_copy(tmp_path: Path) -> None:
    spy, warned = Spy(), list[str]()
    search(spy, tmp_path / "run", warned.append)
    assert warned == []
    assert spy.heard == [
        ("begun", "run", EXPERIMENT),
        ("started", "trial-0000", 0.5),
        ("started", "trial-0001", 0.5),
        ("epoch", "trial-0000", "baseline", 1),
        ("epoch", "trial-0000", "baseline", 2),
        (
            *("ended", "trial-0000", "complete", ""),
            {
                "test_accuracy_before": 0.56,
                "test2_accuracy_before": 0.2,
                "test_accuracy_after": 0.97,
                "test2_accuracy_after": 0.8,
            },
        ),
        ("ended", "trial-0001", "failed", "loss is nan", {}),
        ("concluded", RESULT),
    ]
    assert spy.threads == {"callback mine"}
    assert EXPERIMENT  # which the spy has cleared in its own copy


def test_a_callback_that_raises_is_one_line_for_each_kind_of_event(tmp_path: Path) -> None:
    class Broken(Spy):
        def started(self, training: Training) -> None:
            raise ValueError("no\nserver")

        def epoch(self, training: Training, stage: str, row: Mapping[str, float]) -> None:
            sys.exit(3)

    broken, warned = Broken(), list[str]()
    search(broken, tmp_path / "run", warned.append)
    assert [event[0] for event in broken.heard] == ["begun", "ended", "ended", "concluded"]
    assert warned == [
        "callback mine: started failed, the run goes on: ValueError: no server",
        "callback mine: epoch failed, the run goes on: SystemExit: 3",
        "callback mine: started failed 2 times in all",
        "callback mine: epoch failed 2 times in all",
    ]


def test_a_callback_that_cannot_begin_is_left_alone(tmp_path: Path) -> None:
    class Absent(Spy):
        def begun(self, folder: Path, experiment: Mapping[str, Any]) -> None:
            raise ConnectionError("no server")

    absent, warned = Absent(), list[str]()
    search(absent, tmp_path / "run", warned.append)
    assert absent.heard == []
    assert warned == [
        "callback mine: begun failed, it is not called again: ConnectionError: no server"
    ]


def test_a_callback_that_hangs_delays_neither_trials_nor_other_callbacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hearing, "MOST_WAITING", 5)
    monkeypatch.setattr(hearing, "PATIENCE", 0.2)
    free = threading.Event()

    class Hanging(Callback):
        def started(self, training: Training) -> None:
            free.wait(30)

    hanging, spy, warned = Hanging(), Spy(), list[str]()
    begin = time.monotonic()
    with Hearing([("hanging", hanging), ("spy", spy)], warned.append) as heard:
        heard.started(job(0))
        for epoch in range(20):
            heard.epoch(job(0), "baseline", {**EPOCH, "epoch": epoch})
            while len(spy.heard) < epoch + 2:
                time.sleep(0.001)
    assert time.monotonic() - begin < 10
    assert len(spy.heard) == 21
    slow, lost = warned
    assert slow == "callback hanging is slow; 5 events wait, others are dropped"
    assert lost == "callback hanging is still at work; 5 events are lost"
    free.set()
