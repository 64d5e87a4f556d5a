"""The benchmark of large searches, in small: trials that wait on a cluster of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shiftsearch.experiments.benchmarks import scale
from shiftsearch.search.study.records import stored_trials

pytestmark = pytest.mark.integration


def test_trials_that_wait_are_a_whole_search(tmp_path: Path) -> None:
    small = ["--trials", "12", "--at-once", "2", "--seconds", "0.2"]
    command = [sys.executable, "-m", scale.__name__, *small, "--keep", tmp_path]
    # A process of its own, because a search needs a Ray of its own.
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    rows = [line for line in done.stdout.splitlines() if " to " in line]
    assert len(rows) == scale.PARTS, done.stderr
    kept = tmp_path / "run-2"
    assert [t.state for t in stored_trials(kept / "study.journal")] == ["complete"] * 12
    assert len(list((kept / "tensorboard").glob("trial-*"))) == 12


def test_the_busy_fraction_is_one_without_gaps() -> None:
    watcher = scale._Watcher(None, Path(), 2)  # type: ignore[arg-type]  # the study is not used
    watcher.ended_at = [float(i // 2) for i in range(20)]  # two workers, a trial of 1 s each
    assert scale.busy(watcher, 2, 1.0) == pytest.approx(1.0, abs=0.1)
    watcher.ended_at = [1.25 * end for end in watcher.ended_at]
    assert scale.busy(watcher, 2, 1.0) == pytest.approx(0.8, abs=0.1)
