"""The benchmark of large searches, in small: trials that wait on a cluster of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftsearch.experiments.benchmarks import scale
from shiftsearch.search.study.records import stored_trials

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("scale")]


def test_trials_that_wait_are_a_whole_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale.main(
        ["--trials", "12", "--at-once", "2", "--seconds", "0.2", "--keep", str(tmp_path / "kept")]
    )
    rows = [line for line in capsys.readouterr().out.splitlines() if " to " in line]
    assert len(rows) == scale.PARTS
    kept = tmp_path / "kept" / "run-2"
    assert [t.state for t in stored_trials(kept / "study.journal")] == ["complete"] * 12
    assert len(list((kept / "tensorboard").glob("trial-*"))) == 12


def test_the_busy_fraction_is_one_without_gaps() -> None:
    watcher = scale._Watcher(None)  # type: ignore[arg-type]  # the study is not used
    watcher.ended_at = [float(i // 2) for i in range(20)]  # two workers, a trial of 1 s each
    assert scale.busy(watcher, 2, 1.0) == pytest.approx(1.0, abs=0.1)
    watcher.ended_at = [1.25 * end for end in watcher.ended_at]
    assert scale.busy(watcher, 2, 1.0) == pytest.approx(0.8, abs=0.1)
