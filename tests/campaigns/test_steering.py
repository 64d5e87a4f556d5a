"""A live search is steered from another process, interrupted, continued, and drained."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shiftsearch.experiments.cli import INTERRUPTED, main
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.live.signs import read_status
from shiftsearch.experiments.live.status import status_of
from shiftsearch.experiments.run_folder import Run
from tests.campaigns.conftest import Bench
from tests.campaigns.runs import trials_of

pytestmark = pytest.mark.campaign

POINT = {"baseline.dropout": 0.3, "fine_tune.frozen_layers": 1, "fine_tune.learning_rate": 2e-3}


def begin(bench: Bench, name: str) -> subprocess.Popen[bytes]:
    """A driver as a user starts it; its Ray is not up yet."""
    with bench.starter.log.open("a") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "shiftsearch.experiments.cli", *bench.command(name)],
            env=bench.starter.environment(),
            stdout=log,
            stderr=log,
        )

    def alive() -> bool:
        assert driver.poll() is None, bench.starter.said()
        status = read_status(Run(bench.run(name)).status)
        return status is not None and status["process"]["pid"] == driver.pid

    wait_for(alive)
    return driver


def under_way(run: Path) -> bool:
    return bool(status_of(Run(run))["counts"]["running"] > 0)


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


def done(run: Path) -> list[dict[str, object]]:
    return [t for t in trials_of(run) if t["state"] == "COMPLETE"]


def test_steering(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    run = bench.run("steered")
    driver = begin(bench, "steered")
    assert main(["extend", str(run), "--trials", "200"]) == 0
    wait_for(lambda: under_way(run))
    assert main(["enqueue", str(run), *(f"{k}={v}" for k, v in POINT.items())]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("extend: ")
    number = int(said[1].removeprefix("enqueue: will be trial "))
    assert main(["stop", str(run), "--now"]) == 0
    assert driver.wait(60) == INTERRUPTED
    written = load(str(run / "experiment.yaml"))  # which reproduces the run
    assert written.trials == 200
    assert [POINT.items() <= point.items() for point in written.checked_points()] == [True]
    assert not (run / "result.json").exists()
    assert status_of(Run(run))["outcome"] == "interrupted"
    capsys.readouterr()
    assert main(["stop", str(run)]) == 2  # nobody is there
    assert "no search runs here" in capsys.readouterr().err

    driver = begin(bench, "steered")  # the same command: four trials, were it not extended
    wait_for(lambda: len(done(run)) > max(number, Bench.TRIALS))
    assert main(["stop", str(run)]) == 0
    assert driver.wait(120) == 0, bench.starter.said()
    result = json.loads((run / "result.json").read_text())
    assert result["search"]["stopped"] == "stopped by request"
    assert result["search"]["asked"] == 200
    trial = trials_of(run)[number]
    assert (trial["state"], trial["role"]) == ("COMPLETE", "point")
    assert POINT.items() <= trial["configuration"].items()
    assert {t["state"] for t in trials_of(run)} == {"COMPLETE"}  # drained
    answers = [json.loads(p.read_text()) for p in sorted(run.glob("commands/*.answer.json"))]
    assert [a["accepted"] for a in answers] == [True] * 4
