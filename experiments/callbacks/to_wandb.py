"""Sends a search to Weights & Biases: a run for each training and one for the result, in a group.

Project, account and mode are W&B's own settings, WANDB_PROJECT, WANDB_API_KEY and WANDB_MODE.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftsearch.experiments.callbacks.callback import Callback, Training, numbers_of


class WandB(Callback):
    """Configuration, metrics by epoch, final accuracies; report and bundle as artifacts."""

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError:
            raise ImportError("pip install 'shiftsearch[wandb]' brings W&B") from None
        self._wandb: Any = wandb
        self._runs: dict[str, Any] = {}

    def begun(self, folder: Path, experiment: Mapping[str, Any]) -> None:
        """Remember the search."""
        self._folder, self._experiment = folder, experiment

    def started(self, training: Training) -> None:
        """Begin a run with the training's configuration."""
        about = {"role": training.role, "phase": training.phase, "branch_of": training.branch_of}
        configuration = {**training.configuration, **about}
        self._runs[training.name] = self._begin(training.name, training.phase, configuration)

    def epoch(self, training: Training, stage: str, row: Mapping[str, float]) -> None:
        """Log an epoch's metrics."""
        self._runs[training.name].log({f"{stage}/{name}": value for name, value in row.items()})

    def ended(
        self, training: Training, state: str, reason: str, scores: Mapping[str, float]
    ) -> None:
        """Log the final accuracies and end the run."""
        run = self._runs.pop(training.name)
        run.summary.update({**scores, "state": state, "reason": reason})
        run.finish(exit_code=int(state in ("failed", "lost")))

    def concluded(self, folder: Path, result: Mapping[str, Any]) -> None:
        """Log the result, the report and the bundle in a run of their own."""
        run = self._begin("result", "result", dict(self._experiment))
        run.summary.update(numbers_of(result))
        self._add(run, "report", [folder / "report.html", folder / "result.json"])
        self._add(run, "model", [folder / "best"])
        run.finish()

    def _begin(self, name: str, kind: str, configuration: Mapping[str, Any]) -> Any:
        """A W&B run; the same search and name give the same one."""
        of = hashlib.blake2b(f"{self._folder}\0{name}".encode(), digest_size=8).hexdigest()
        return self._wandb.init(
            id=of,
            name=name,
            group=str(self._experiment["name"]),
            job_type=kind,
            config=configuration,
            project=os.environ.get("WANDB_PROJECT", "shiftsearch"),
            dir=os.environ.get("WANDB_DIR", str(self._folder)),
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(silent=True, console="off"),
        )

    def _add(self, run: Any, kind: str, paths: list[Path]) -> None:
        artifact = self._wandb.Artifact(f"{self._experiment['name']}-{kind}", type=kind)
        for path in paths:
            if path.is_dir():
                artifact.add_dir(str(path))
            elif path.exists():
                artifact.add_file(str(path))
        run.log_artifact(artifact)
