"""Sends a search to MLflow: a run for the search, and one below it for each training.

Server and experiment are MLflow's own settings, MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME. A
search that is continued goes on in the same MLflow runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftsearch.experiments.callbacks.callback import Callback, Training, numbers_of

FOLDER, TRAINING, PARENT = "shiftsearch.run", "shiftsearch.training", "mlflow.parentRunId"
"""Tags: of the search, its folder; of a training, its name; of a training, the search's id."""
_STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "lost": "KILLED"}


class MLflow(Callback):
    """Parameters, metrics by epoch, final accuracies; report, result and bundle as artifacts."""

    def __init__(self) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise ImportError("pip install 'shiftsearch[mlflow]' brings MLflow") from None
        self._make = MlflowClient
        self._ids: dict[str, str] = {}

    def begun(self, folder: Path, experiment: Mapping[str, Any]) -> None:
        """Find or make the search's run."""
        self._client = self._make()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "shiftsearch")
        known = self._client.get_experiment_by_name(name)
        self._experiment = (
            self._client.create_experiment(name) if known is None else known.experiment_id
        )
        self._search = self._run({FOLDER: str(folder)}, str(experiment["name"]))
        keys = ("data", "trials", "sampler", "objective", "seed")
        self._client.log_batch(self._search, params=_params({k: experiment[k] for k in keys}))

    def started(self, training: Training) -> None:
        """Find or make the training's run, and log its hyperparameters."""
        tags = {TRAINING: training.name, PARENT: self._search}
        run = self._ids[training.name] = self._run(tags, training.name)
        about = {"role": training.role, "phase": training.phase, "branch_of": training.branch_of}
        self._client.log_batch(run, params=_params({**training.configuration, **about}))

    def epoch(self, training: Training, stage: str, row: Mapping[str, float]) -> None:
        """Log an epoch's metrics."""
        values = {f"{stage}/{name}": value for name, value in row.items() if name != "epoch"}
        self._log(self._ids[training.name], values, int(row["epoch"]))

    def ended(
        self, training: Training, state: str, reason: str, scores: Mapping[str, float]
    ) -> None:
        """Log the final accuracies and end the training's run."""
        run = self._ids[training.name]
        self._log(run, scores, 0)
        self._client.set_tag(run, "shiftsearch.state", f"{state}: {reason}" if reason else state)
        self._client.set_terminated(run, _STATUS[state])

    def concluded(self, folder: Path, result: Mapping[str, Any]) -> None:
        """Log the winner's numbers, report, result and bundle, and end the search's run."""
        self._log(self._search, numbers_of(result), 0)
        for name in ("report.html", "result.json", "trials.csv"):
            if (folder / name).exists():
                self._client.log_artifact(self._search, folder / name)
        self._client.log_artifacts(self._search, folder / "best", "model")
        self._client.set_terminated(self._search)

    def _run(self, tags: Mapping[str, str], name: str) -> str:
        """Id of the run with these tags, made if there is none."""
        wanted = " and ".join(f"tags.`{key}` = {_quoted(value)}" for key, value in tags.items())
        if found := self._client.search_runs([self._experiment], wanted, max_results=1):
            run: str = found[0].info.run_id
            self._client.update_run(run, status="RUNNING")
            return run
        made = self._client.create_run(self._experiment, tags=dict(tags), run_name=name)
        return str(made.info.run_id)

    def _log(self, run: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(run, metrics=metrics)


def _quoted(text: str) -> str:
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


def _params(values: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in values.items() if value is not None]
