"""Workers killed and stopped, a clock that jumps, slow storage: nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.campaigns import trouble
from tests.campaigns.conftest import Bench
from tests.campaigns.dying_driver import STRUCK
from tests.campaigns.runs import trials_of
from tests.campaigns.test_kills import assert_undisturbed

pytestmark = pytest.mark.campaign

TWO_AT_ONCE = ("--set", "resources.concurrency=2")
STUBBORN = {  # a trial is given up after its fourth loss, and each loss brings a longer pause
    "shiftsearch.search.study.study:MAX_LOSSES": 1000,
    "shiftsearch.experiments.outcome.repeats:MAX_LOSSES": 1000,
    "shiftsearch.search.executing.caution:PAUSES": [0.1],
}


def start(
    bench: Bench,
    run: Path,
    *strikes: str,
    options: tuple[str, ...] = TWO_AT_ONCE,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Start the driver, which must come to the end; returns what it printed."""
    before = len(bench.starter.said())
    command = bench.command(run, Bench.TRIALS, *options)
    code = bench.starter(command, *strikes, environment=environment, constants=STUBBORN)
    said = bench.starter.said()[before:]
    assert code == 0, said
    return said


def test_workers_are_killed_at_random_moments(bench: Bench, full_campaign: bool) -> None:
    """Twenty in one search. In short three, while the clock jumps and the storage is slow."""
    run, kills = bench.run("killed"), 20 if full_campaign else 3
    epochs = random.Random(0).sample(range(1, 31), kills)
    environment = None
    if not full_campaign:
        environment = trouble.in_all_processes(run.parent / "path", "clock", "storage")
    strikes = [f"epoch:{number}:worker" for number in epochs]
    said = start(bench, run, *strikes, environment=environment)
    assert said.count(STRUCK) == kills
    assert sum(t["losses"] or 0 for t in trials_of(run)) >= 1
    assert_undisturbed(run, bench)


def test_stopped_workers_are_noticed(bench: Bench, full_campaign: bool) -> None:
    """In both phases; the processes stand still and keep their connections."""
    if not full_campaign:
        pytest.skip("in the full campaign only; in short with jobs that train nothing")
    run, options = bench.run("stopped"), (*TWO_AT_ONCE, "--set", "failures.silent_seconds=5")
    said = start(bench, run, "epoch:1:stop", "retraining:1:stop", options=options)
    assert said.count(STRUCK) == 2
    assert any(t["losses"] for t in trials_of(run))
    assert_undisturbed(run, bench)
