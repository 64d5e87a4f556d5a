"""The time left is estimated from medians, whatever order the jobs ended in."""

from __future__ import annotations

import random
import statistics

import pytest

from shiftsearch.experiments.live.pace import Pace

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("jobs", [1, 2, 7, 8])
def test_medians_of_all_of_branches_and_of_others(jobs: int) -> None:
    rng, pace = random.Random(jobs), Pace()
    times = [(rng.random(), rng.random() < 0.5) for _ in range(jobs)]
    for seconds, branch in times:
        pace.note(seconds, branch=branch)
    known = [seconds for seconds, _ in times]
    others = [seconds for seconds, branch in times if not branch] or known
    branches = [seconds for seconds, branch in times if branch] or known
    left = pace.seconds_left(1, [], 1, branching=True)
    assert left == statistics.median(known)
    assert pace.seconds_left(1, [], 1, branching=False) == statistics.median(others)
    running = [(0.0, True)]
    assert pace.seconds_left(1, running, 1, branching=True) == statistics.median(branches)
