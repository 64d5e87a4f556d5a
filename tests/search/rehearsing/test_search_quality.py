"""Search quality on recorded trials: ours reaches the target sooner than random search does.

A one-sided rank test at alpha 0.05 over simulated searches, as vizier's comparison of convergence
speeds has it (github.com/google/vizier, benchmarks/testing). Searches that never reach the target
rank last. The same test of random search against itself is the control: it must find nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import mannwhitneyu

import shiftsearch.experiments.benchmarks
from shiftsearch.experiments.definition import load
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.rehearsing.recording import RecordedBaseline, read_recording
from shiftsearch.search.rehearsing.replay import Replayed, Workers, replay, time_to_value
from shiftsearch.search.rehearsing.surrogate import Surrogate
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.settings import Settings

pytestmark = pytest.mark.unit

RECORDING = (
    Path(shiftsearch.experiments.benchmarks.__file__).parent / "recordings" / "synthetic.jsonl"
)
SEEDS, TRIALS, ALPHA = 24, 40, 0.05
EXPERIMENT = load("demo")
SPACE = EXPERIMENT.search_space()
OURS = EXPERIMENT.settings()
RANDOM = replace(OURS, sampler="random", policy=Policy(branches=1, rungs=()))


@pytest.fixture(scope="module")
def recording() -> list[RecordedBaseline]:
    return read_recording(RECORDING)


@pytest.fixture(scope="module")
def surrogate(recording: list[RecordedBaseline]) -> Surrogate:
    return Surrogate(recording, SPACE)


@pytest.fixture(scope="module")
def target(recording: list[RecordedBaseline]) -> float:
    """The highest held-out accuracy that at least 5 recorded configurations reach."""
    reached = [f.held_out or 0.0 for b in recording for f in b.fine_tunes if f.start == 0]
    return sorted(reached)[-5]


def times(surrogate: Surrogate, settings: Settings, target: float, first: int = 0) -> list[float]:
    """Seconds of each simulated search; infinite where the target is not reached."""

    def reached(trials: Sequence[Replayed]) -> bool:
        return time_to_value(trials, target, held_out=True) is not None

    found = []
    for seed in range(first, first + SEEDS):
        chosen = replace(settings, seed=seed, budget=Budget(TRIALS))
        trials = replay(surrogate, SPACE, chosen, Workers(2), reached)
        found.append(time_to_value(trials, target, held_out=True))
    return [math.inf if seconds is None else seconds for seconds in found]


@pytest.fixture(scope="module")
def at_random(surrogate: Surrogate, target: float) -> list[float]:
    """Of the simulated random searches; both tests compare with them."""
    return times(surrogate, RANDOM, target)


def p_value(own: Sequence[float], other: Sequence[float]) -> float:
    """That `own` is no sooner than `other`, one-sided."""
    return float(mannwhitneyu(own, other, alternative="less").pvalue)


@pytest.mark.slow(reason="simulates 48 whole searches")
def test_ours_reaches_the_target_sooner_than_random_search(
    surrogate: Surrogate, target: float, at_random: list[float]
) -> None:
    assert p_value(times(surrogate, OURS, target), at_random) < ALPHA


@pytest.mark.slow(reason="simulates 48 whole searches")
def test_random_search_is_no_sooner_than_itself(
    surrogate: Surrogate, target: float, at_random: list[float]
) -> None:
    """The control: without it, a test that calls everything sooner would pass as well."""
    other = times(surrogate, RANDOM, target, SEEDS)
    assert p_value(at_random, other) > ALPHA
    assert p_value(other, at_random) > ALPHA
