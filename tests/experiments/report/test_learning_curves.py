"""Learning curves come from the store, and the figure says in words what it shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shiftsearch.experiments.analysis import learning
from shiftsearch.experiments.report.figures.curves import learning_curves
from shiftsearch.model.result import STAGES, ProtocolResult
from shiftsearch.model.store import Entry, Store, open_store
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import EPOCH, complete
from tests.experiments.report.test_figures import parse, texts

pytestmark = pytest.mark.unit


def stored(store: Store, trial: TrialRecord, epochs: int) -> TrialRecord:
    """The trial with both of its stages in the store, the best epoch being the second."""
    assert trial.result is not None
    stages = []
    for place, name in enumerate(STAGES):
        course = f"{10 * trial.number + place:032x}"
        rows = [{**EPOCH, "epoch": n, "validation_loss": 1 / n} for n in range(1, epochs + 1)]
        record = {"decisions": {"epochs": epochs, "best_epoch": 2}, "history": rows}
        store.save(course, "final", Entry({}, record | {"environment": {}}))
        key = f"{course}-{epochs:04d}"
        stages.append(replace(trial.result.stage(name), key=key, epochs=epochs, best_epoch=2))
    return replace(trial, result=ProtocolResult(*stages))


def test_the_curves_of_winner_and_reference_are_found(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    reference = stored(store, complete(0, 0.8, role="reference"), 3)
    winner = stored(store, complete(2, 0.9), 4)
    trials = [reference, stored(store, complete(1, 0.7), 5), winner]
    found = learning.learning_curves(store, trials, winner=2)
    lengths = {title: [len(stages[s].rows) for s in STAGES] for title, stages in found.items()}
    assert lengths == {"reference": [3, 3], "winner": [4, 4]}
    assert list(learning.learning_curves(store, trials, winner=0)) == ["reference"]
    lost = [replace(reference, result=complete(0, 0.8).result)]  # with keys that are not stored
    assert learning.learning_curves(store, lost, winner=0) == {}
    root = parse(learning_curves(found))
    assert root.get("aria-label") == (
        "Learning curves. "
        + "; ".join(
            f"{title}, {stage}: {n} epochs, the best is 2 with validation loss 0.500 and "
            "accuracy 62.50 %"
            for title, n in (("reference", 3), ("winner", 4))
            for stage in ("baseline", "fine-tune")
        )
        + "."
    )
    assert {"winner", "reference", "training", "validation"} <= set(texts(root))


def test_a_run_that_did_not_record_training_accuracy_has_the_other_curves(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    found = learning.learning_curves(store, [stored(store, complete(0, 0.8, "reference"), 3)], 0)
    whole = learning_curves(found).count("stroke-dasharray")
    short = {
        title: {
            stage: replace(
                curve,
                rows=tuple(
                    {k: v for k, v in row.items() if k != "train_accuracy"} for row in curve.rows
                ),
            )
            for stage, curve in stages.items()
        }
        for title, stages in found.items()
    }
    assert learning_curves(short).count("stroke-dasharray") == whole - 2
