"""One stage: a training run with early stopping, as a pure function of its course.

Here is how a stage is found done, taken up again and stored; `model.training` computes it. A
stage that was killed anywhere and is started again from its last stored state ends with the same
bits (on the same device, dtype, threads and versions).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from model.course import Course
from model.device import Device
from model.store import Entry, Store
from model.training import EpochRow, StageRun, TensorSplit

SAVE_EVERY = 30.0
"""Seconds between resumable states; written at the end of the epoch in which they have passed."""

OnEpoch = Callable[[str, EpochRow], None]


@dataclass(frozen=True)
class StageResult:
    """What a stage, or a rung of it, came to.

    Attributes:
        course: its key.
        epochs: trained.
        best_epoch: whose weights these are, counted from 1.
        weights: the network's state at the best epoch, on the CPU.
        history: one row per epoch: epoch, train_loss, train_accuracy, validation_loss,
            validation_accuracy, learning_rate, seconds, images_per_second.
        environment: device, dtype, threads and versions it was computed under.
        finished: whether the stopping rule ended it, not a rung.
    """

    course: str
    epochs: int
    best_epoch: int
    weights: Mapping[str, Tensor]
    history: tuple[EpochRow, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = True

    @property
    def key(self) -> str:
        """The result key: course key and number of epochs."""
        return f"{self.course}-{self.epochs:04d}"

    @property
    def seconds(self) -> float:
        """Training and validation time of all epochs."""
        return sum(row["seconds"] for row in self.history)


def run_stage(
    course: Course,
    train: TensorSplit,
    validation: TensorSplit,
    store: Store,
    device: Device,
    *,
    start: Mapping[str, Tensor] | None = None,
    until: int | None = None,
    on_epoch: OnEpoch | None = None,
) -> StageResult:
    """Find the stage done, or take it up where it was left, or begin it.

    Args:
        course: what to compute.
        train, validation: the splits named in the course, on the device.
        store: where results and resumable states lie.
        device: how to compute; recorded, not part of the course.
        start: the parent's weights; None draws them from the course's seed.
        until: a rung: stop after so many epochs (a longer budget continues it); None: to the end.
        on_epoch: called with the stage's name and each epoch's row, stored rows included.

    Raises:
        TrialDiverged: when a loss is not finite; the stage stores nothing of that epoch.
    """
    limit = min(until or course.schedule.max_epochs, course.schedule.max_epochs)
    done = stored_result(store, course.key, limit)
    if done is not None:
        if store.path(course.key, "final").exists():
            store.delete(course.key, "state")  # a kill between publishing and deleting left it
        _announce(course, done.history, on_epoch)
        return done
    run = StageRun(course, device, start)
    state = store.load(course.key, "state")
    if state is not None and state.record["decisions"]["epochs"] <= limit:
        run.restore(state)
        _announce(course, run.history, on_epoch)
    saved = time.monotonic()
    while not run.decisions.finished and run.decisions.epochs < limit:
        row = run.epoch(train, validation)
        if on_epoch is not None:
            on_epoch(course.stage, row)
        if time.monotonic() - saved >= SAVE_EVERY:
            store.save(course.key, "state", run.state())
            saved = time.monotonic()
    if run.decisions.finished:
        store.save(course.key, "final", run.result())
        store.delete(course.key, "state")
    else:
        store.save(course.key, "state", run.state())
        store.save(course.key, f"epochs-{limit:04d}", run.result())
    return _to_result(course.key, run.result(), finished=run.decisions.finished)


def stored_result(store: Store, key: str, limit: int) -> StageResult | None:
    """The result of a course under a budget of `limit` epochs, or None if it is not computed."""
    final = store.load(key, "final")
    if final is not None and final.record["decisions"]["epochs"] <= limit:
        return _to_result(key, final, finished=True)
    rung = store.load(key, f"epochs-{limit:04d}")
    return None if rung is None else _to_result(key, rung, finished=False)


def _to_result(key: str, entry: Entry, *, finished: bool) -> StageResult:
    decisions = entry.record["decisions"]
    return StageResult(
        key,
        decisions["epochs"],
        decisions["best_epoch"],
        entry.tensors,
        tuple(entry.record["history"]),
        entry.record["environment"],
        finished,
    )


def _announce(course: Course, history: Sequence[EpochRow], on_epoch: OnEpoch | None) -> None:
    if on_epoch is not None:
        for row in history:
            on_epoch(course.stage, row)
