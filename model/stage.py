"""One stage: a training run with early stopping, as a pure function of its course.

This module finds stored results, continues stored states, decides when to stop, and stores; an
engine, such as `model.training`, computes the epochs. A stage that was killed and continues from
its last stored state ends with the same bits (on the same device, dtype, threads and versions).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shiftsearch.model.course import Course
from shiftsearch.model.engine import ComputedEpoch, Engine, EpochRequest, EpochRow, TrialDiverged
from shiftsearch.model.schedules import learning_rate
from shiftsearch.model.stopping import Decisions
from shiftsearch.model.store import Entry, Store

SAVE_EVERY = 30.0
"""Least seconds between resumable states; a state is written at the end of an epoch."""

OnEpoch = Callable[[str, EpochRow], None]
_BEST = "best."


@dataclass(frozen=True)
class StageResult:
    """The result of a stage, or of its first epochs.

    Attributes:
        course: the course key.
        epochs: number of epochs trained.
        best_epoch: the epoch of `weights`, counted from 1.
        weights: the network's state at the best epoch, on the CPU.
        history: one row per epoch: epoch, train_loss, train_accuracy, validation_loss,
            validation_accuracy, learning_rate, seconds, images_per_second.
        environment: device, dtype, threads and software versions.
        finished: True if the stopping rule ended it, False if a budget of epochs did.
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


def stage_steps(
    course: Course, store: Store, *, until: int | None = None, on_epoch: OnEpoch | None = None
) -> Generator[EpochRequest, ComputedEpoch, StageResult]:
    """Return a stored stage, continue an unfinished one, or begin a new one.

    A generator: it yields a request for each epoch that must be computed, is sent the computed
    epoch, and returns the result. The first request says where to start.

    Args:
        course: the stage to compute.
        store: holds results and resumable states.
        until: stop after this many epochs (a longer budget continues it); None: no budget.
        on_epoch: called with the stage's name and each epoch's row, stored rows included.

    Raises:
        TrialDiverged: a loss is not finite; the stage stores nothing of that epoch.
    """
    limit = min(until or course.schedule.max_epochs, course.schedule.max_epochs)
    done = stored_result(store, course.key, limit)
    if done is not None:
        if store.exists(course.key, "final"):
            store.delete(course.key, "state")  # a kill between publishing and deleting left it
        _announce(course, done.history, on_epoch)
        return done
    progress, going_on = _taken_up(course, store, limit)
    _announce(course, progress.history, on_epoch)
    decisions, saved = progress.decisions, time.monotonic()
    while not decisions.finished and decisions.epochs < limit:
        number = decisions.epochs + 1
        rate = learning_rate(course, number, decisions.learning_rate)
        request = EpochRequest(number, rate, going_on)
        going_on = None
        computed = yield request
        row = progress.take(course.stage, request, computed)
        if on_epoch is not None:
            on_epoch(course.stage, row)
        at_budget = decisions.epochs == limit and not decisions.finished
        if at_budget or time.monotonic() - saved >= SAVE_EVERY:
            store.save(course.key, "state", progress.state(computed))
            saved = time.monotonic()
    if decisions.finished:
        store.save(course.key, "final", progress.result())
        store.delete(course.key, "state")
    else:
        store.save(course.key, f"epochs-{limit:04d}", progress.result())
    return _to_result(course.key, progress.result(), finished=decisions.finished)


def drive(
    steps: Generator[EpochRequest, ComputedEpoch, StageResult], engine: Callable[[], Engine]
) -> StageResult:
    """Compute a stage to its end.

    Args:
        steps: from `stage_steps`.
        engine: makes the stage's engine; called only if there is an epoch to compute.
    """
    try:
        request = next(steps)
        compute = engine()
        while True:
            request = steps.send(compute(request))
    except StopIteration as end:
        result: StageResult = end.value
        return result


@dataclass
class _Progress:
    """The stage so far."""

    decisions: Decisions
    history: list[EpochRow] = field(default_factory=list)
    best: Mapping[str, Tensor] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    def take(self, stage: str, request: EpochRequest, computed: ComputedEpoch) -> EpochRow:
        """Add a computed epoch to the decisions and the history; returns its row."""
        number, rate = request.number, request.learning_rate
        train_loss, loss = computed.train_loss, computed.validation_loss
        if not (math.isfinite(train_loss) and math.isfinite(loss)):
            raise TrialDiverged(
                f"{stage} epoch {number}: training loss {train_loss}, validation "
                f"loss {loss} at learning rate {rate:g}; both must be finite"
            )
        if self.decisions.update(loss, computed.updates):
            self.best = computed.weights()
        self.environment = computed.environment
        row = {
            "epoch": number,
            "train_loss": train_loss,
            "train_accuracy": computed.train_accuracy,
            "validation_loss": loss,
            "validation_accuracy": computed.validation_accuracy,
            "learning_rate": rate,
            "seconds": computed.seconds,
            "images_per_second": computed.images_per_second,
        }
        self.history.append(row)
        return row

    def result(self) -> Entry:
        """Best weights and history."""
        record = {
            "decisions": self.decisions.state(),
            "history": self.history,
            "environment": dict(self.environment),
        }
        return Entry(self.best, record)

    def state(self, computed: ComputedEpoch) -> Entry:
        """Everything needed to continue after the last computed epoch."""
        best = {f"{_BEST}{name}": tensor for name, tensor in self.best.items()}
        return Entry({**computed.state(), **best}, self.result().record)


def _taken_up(
    course: Course, store: Store, limit: int
) -> tuple[_Progress, Mapping[str, Tensor] | None]:
    """Stored progress of at most `limit` epochs with the engine's state, or new progress."""
    state = store.load(course.key, "state")
    if state is None or state.record["decisions"]["epochs"] > limit:
        decisions = Decisions(course.schedule, course.hyperparameters.learning_rate)
        return _Progress(decisions), None
    record = state.record
    best = {
        name.removeprefix(_BEST): tensor
        for name, tensor in state.tensors.items()
        if name.startswith(_BEST)
    }
    engines = {k: tensor for k, tensor in state.tensors.items() if not k.startswith(_BEST)}
    decisions = Decisions.restore(course.schedule, record["decisions"])
    return _Progress(decisions, list(record["history"]), best, record["environment"]), engines


def stored_result(store: Store, key: str, limit: int) -> StageResult | None:
    """The result of a course under a budget of `limit` epochs, or None if it is not computed."""
    final = store.load(key, "final")
    if final is not None and final.record["decisions"]["epochs"] <= limit:
        return _to_result(key, final, finished=True)
    partial = store.load(key, f"epochs-{limit:04d}")
    return None if partial is None else _to_result(key, partial, finished=False)


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
