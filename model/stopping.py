"""Decisions about a stage, apart from its computation: best epoch, learning rate, end.

They depend only on the validation losses and the number of optimiser steps, so that they can be
replayed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from shiftsearch.model.hyperparameters import Schedule


@dataclass
class Decisions:
    """State of early stopping and of the reduction on plateau.

    Attributes:
        schedule: the rules.
        learning_rate: the next epoch's by the reductions so far, see `model.schedules`.
        epochs: number of epochs so far.
        best_epoch: the one with the lowest validation loss, counted from 1; 0 before the first.
        best_loss: its validation loss.
        reduced_at: the epoch after which the learning rate was last reduced; 0 if never.
        updates: optimiser steps so far.
        uncounted: the last epoch that ended before the schedule's `min_updates`; 0 if none did.
    """

    schedule: Schedule
    learning_rate: float
    epochs: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    reduced_at: int = 0
    updates: int = 0
    uncounted: int = 0

    def update(self, validation_loss: float, updates: int = 0) -> bool:
        """Add one more epoch; True if its validation loss is the lowest so far.

        After `reduce_after` epochs without a lower loss, counted from the best epoch, the last
        reduction or the last uncounted epoch, the learning rate is multiplied by `reduce_factor`.

        Args:
            validation_loss: the epoch's.
            updates: optimiser steps in the epoch.
        """
        self.epochs += 1
        self.updates += updates
        if self.updates < self.schedule.min_updates:
            self.uncounted = self.epochs
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch = validation_loss, self.epochs
            return True
        since = max(self.best_epoch, self.reduced_at, self.uncounted)
        if self.epochs - since >= self.schedule.reduce_after:
            self.learning_rate *= self.schedule.reduce_factor
            self.reduced_at = self.epochs
        return False

    @property
    def finished(self) -> bool:
        """Whether the stage has ended: no patience is left, or `max_epochs` is reached."""
        waited = self.epochs - max(self.best_epoch, self.uncounted)
        return waited >= self.schedule.patience or self.epochs >= self.schedule.max_epochs

    def state(self) -> dict[str, Any]:
        """State for `restore`, without the schedule; finite JSON values after the first epoch."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "schedule"}

    @classmethod
    def restore(cls, schedule: Schedule, state: dict[str, Any]) -> Decisions:
        """The decisions as they were when `state` was taken."""
        return cls(schedule, **state)
