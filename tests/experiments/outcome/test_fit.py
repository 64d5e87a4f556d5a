"""What the stages learnt is read from their stored courses, at the epoch that was kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shiftsearch.experiments.outcome.fit import fit
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.store import Entry
from tests.experiments.protocol_results import EPOCH
from tests.made_results import made_result

pytestmark = pytest.mark.unit

COUNTS = {"TRAIN": [100, 101], "TEST": [50, 14], "TEST2": [40, 40]}


def candidate(run: Run, replicates: int) -> Candidate:
    """Replicate r keeps the second of its r + 2 baseline epochs; fine-tunes have no course."""
    results = {}
    for r in range(1, replicates + 1):
        made = made_result(0.9)
        stage = replace(made.baseline, key=f"c{r}-0004", epochs=r + 2, best_epoch=2)
        rows = [
            {**EPOCH, "epoch": n, "train_accuracy": n / 10 * r, "validation_accuracy": n / 20}
            for n in range(1, r + 3)
        ]
        run.store.save(stage.course, "final", Entry({}, {"history": rows}))
        fine_tune = replace(made.fine_tune, key=f"f{r}-0001")  # is not stored
        results[r] = replace(made, baseline=stage, fine_tune=fine_tune)
    return Candidate(0, Hyperparameters().to_flat(), 0.9, "TEST", results, {})


def test_accuracies_are_means_at_the_kept_epoch_and_updates_count_batches(tmp_path: Path) -> None:
    run = Run(tmp_path)
    found = fit({"winner": candidate(run, 2)}, run.store, COUNTS, Protocol())["winner"]
    assert found["baseline"] == {
        "epochs": [3, 4],
        "updates": [12, 16],  # 201 images in batches of 64
        "train_accuracy": pytest.approx(0.3),  # of 0.2 and 0.4
        "validation_accuracy": pytest.approx(0.1),
    }


def test_a_course_that_is_gone_leaves_the_accuracies_open(tmp_path: Path) -> None:
    run = Run(tmp_path)
    found = fit({"winner": candidate(run, 1)}, run.store, COUNTS, Protocol())["winner"]
    assert found["fine_tune"]["train_accuracy"] is None
    assert found["fine_tune"]["validation_accuracy"] is None
    assert found["fine_tune"]["updates"] == found["fine_tune"]["epochs"]  # 64 images, one batch
