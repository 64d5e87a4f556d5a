"""The comparison of rules of export: its table by hand, and what each rule exports of one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.export_rules import (
    COMBINED,
    Exported,
    exported_by_rules,
    table,
)
from shiftsearch.experiments.run_folder import NotARun
from tests.experiments.stored_runs import stored_run

pytestmark = pytest.mark.unit


def test_the_table_has_means_over_runs_with_their_interval_and_the_optimism() -> None:
    runs = [
        {"single": Exported(0.90, 0.95, 1), "ensemble": Exported(0.92, 0.96, 4)},
        {"single": Exported(0.94, 0.97, 1), "ensemble": Exported(0.95, 0.97, 1)},
    ]
    # By hand: the mean of 90 and 94 is 92, its standard error 2, and Student's t with one degree
    # of freedom 12.706.
    assert table(runs)[2:] == [
        "| single | 2 | 92.00 % | 66.59 to 117.41 | 92.00 % | 1.0 | 96.00 % | +4.00 |",
        "| ensemble | 2 | 93.50 % | 74.44 to 112.56 | 93.50 % | 2.5 | 96.50 % | +3.00 |",
    ]
    assert len({line.count("|") for line in table(runs)}) == 1
    assert "| - |" in table(runs[:1])[2]  # one run has no interval


def test_a_run_without_a_winner_is_refused(tiny_dataset: Dataset, tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", tiny_dataset.digest)
    with pytest.raises(NotARun, match="has no winner"):
        exported_by_rules(run, tiny_dataset)
    assert "ensemble" in COMBINED
