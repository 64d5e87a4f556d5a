"""MLflow's own file store holds what a search sent to it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")

from shiftsearch.experiments.callbacks.to_mlflow import FOLDER, PARENT, TRAINING, MLflow
from tests.experiments.callbacks.heard import search

pytestmark = [pytest.mark.unit, pytest.mark.slow(reason="imports MLflow, 2 s")]


def test_a_search_and_its_continuation_are_one_run_with_a_run_for_each_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    store = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "digits")
    folder, warned = tmp_path / "it's a run", list[str]()
    for _ in range(2):  # the second call continues the search
        search(MLflow(), folder, warned.append)
    assert warned == []
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"mine", "trial-0000", "trial-0001"}
    whole, first, second = runs["mine"], runs["trial-0000"], runs["trial-0001"]
    assert len(client.search_runs([experiment.experiment_id])) == 3
    assert whole.data.tags[FOLDER] == str(folder)
    assert whole.data.params["trials"] == "2"
    assert whole.data.metrics == {"winner/after/TEST2/held-out": 0.9}
    files = {file.path for file in client.list_artifacts(whole.info.run_id)}
    assert files == {"model", "report.html", "result.json"}
    assert [f.path for f in client.list_artifacts(whole.info.run_id, "model")] == [
        "model/weights.safetensors"
    ]
    assert first.data.tags[PARENT] == whole.info.run_id
    assert first.data.tags[TRAINING] == "trial-0000"
    assert first.data.params["fine_tune.frozen_layers"] == "2"
    assert first.data.metrics["test2_accuracy_after"] == 0.8
    curve = client.get_metric_history(first.info.run_id, "baseline/validation_accuracy")
    assert sorted({(point.step, point.value) for point in curve}) == [(1, 0.625), (2, 0.625)]
    assert [run.info.status for run in (whole, first, second)] == [
        *("FINISHED", "FINISHED", "FAILED")
    ]
    assert second.data.tags["shiftsearch.state"] == "failed: loss is nan"
