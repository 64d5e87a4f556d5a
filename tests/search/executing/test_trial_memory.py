"""What is trained to measure a trial's memory; on the CPU, because no GPU is here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.data.cache import save_pack
from shiftsearch.data.dataset import Dataset
from shiftsearch.model.gpu_memory import Need
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.protocol import ProtocolRun
from shiftsearch.search.executing import trainable, trial_memory
from shiftsearch.search.executing.trainable import WorkerContext
from shiftsearch.search.proposing.space import REFERENCE

pytestmark = pytest.mark.integration


def test_each_configuration_is_trained_for_an_epoch_a_stage_and_leaves_nothing(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pack(tiny_dataset, tmp_path / "pack")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    context = WorkerContext(
        *(str(tmp_path / "pack"), tiny_dataset.digest, str(tmp_path / "store")),
        *(Protocol(folds=2).model_dump_json(), 0, 1.0, 0.0, "float32"),
    )
    ended: list[Any] = []
    original = trial_memory.run_protocol

    def run_protocol(run: ProtocolRun) -> None:
        ended.append(original(run).result)

    def measured(train: Callable[[], None]) -> Need:
        train()
        return Need(1, 2, 3)

    monkeypatch.setattr(trial_memory, "run_protocol", run_protocol)
    monkeypatch.setattr(trial_memory, "measured", measured)
    diverging = {**REFERENCE, "baseline.learning_rate": 1.0, "fine_tune.frozen_layers": 0}
    assert trial_memory.memory_of(context, [REFERENCE, diverging]) == Need(1, 2, 3)
    assert ended
    assert [(r.baseline.epochs, r.fine_tune.epochs) for r in ended] == [(1, 1)] * len(ended)
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "store").exists()
    trainable.workbench.cache_clear()
