"""What a callback hears; the base class of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Training:
    """One configuration put through both stages.

    Attributes:
        name: unique within the run, such as `trial-0003`.
        phase: "search" or "retrain".
        trial: number of the trial that has the configuration.
        replicate: 0 in the search; 1, 2, ... in retraining.
        role: "reference", "point" or "sampled".
        branch_of: the trial whose baseline it fine-tunes; None if it trains its own.
        configuration: every hyperparameter by its dotted name.
    """

    name: str
    phase: str
    trial: int
    replicate: int
    role: str
    branch_of: int | None
    configuration: Mapping[str, Any]


class Callback:
    """Base of callbacks; a subclass overrides what it wants to hear.

    It is made without arguments in the process of `shiftsearch search`, and called in a thread of
    its own, one event after another. What it is given is its own copy. If it raises, the
    error is printed in one line and the search goes on. If it is slow, events wait; trials do not.
    """

    def begun(self, folder: Path, experiment: Mapping[str, Any]) -> None:
        """A call of `search` begins. If this raises, the callback is not called again.

        Args:
            folder: the run's folder, which an earlier call may have begun.
            experiment: the whole experiment file, as in `experiment.yaml`.
        """

    def started(self, training: Training) -> None:
        """A worker was asked to do a training; a lost one is started again."""

    def epoch(self, training: Training, stage: str, row: Mapping[str, float]) -> None:
        """An epoch was trained, or found in the store when a training is continued.

        Args:
            training: the training.
            stage: `baseline`, `fine_tune`, or a fine-tune of a rung or fold, as in TensorBoard.
            row: epoch (from 1), train_loss, train_accuracy, validation_loss,
                validation_accuracy, learning_rate, seconds, images_per_second.
        """

    def ended(
        self, training: Training, state: str, reason: str, scores: Mapping[str, float]
    ) -> None:
        """A training ended.

        Args:
            training: the training.
            state: "complete", "pruned", "failed" or "lost".
            reason: why, in one line; empty if complete.
            scores: in 0..1 by name, such as `test2_accuracy_after` of TEST2's selection part;
                empty unless complete.
        """

    def concluded(self, folder: Path, result: Mapping[str, Any]) -> None:
        """The search is complete; report and bundle are written.

        Args:
            folder: the run's folder, with `report.html` and `best/`.
            result: the content of `result.json`.
        """


def numbers_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The accuracies in `result.json` in 0..1, such as `winner/after/TEST2/held-out`."""
    return {
        f"{row['configuration']}/{row['stage']}/{row['split']}/{row['part']}": row["accuracy"]
        for row in result["table"]
    }
