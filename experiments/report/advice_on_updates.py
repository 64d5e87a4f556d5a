"""Recommendation for small sets, of which an epoch has few optimiser steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from shiftsearch.model.batches import from_train_per_batch
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.recipe import training_splits
from shiftsearch.model.result import STAGES
from shiftsearch.search.study.records import TrialRecord

FEW_UPDATES = 100
"""Optimiser steps below which a stage counts as short; a convention, not a measured limit."""


def few_updates(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Stages that patience ended after fewer than `FEW_UPDATES` steps, in most of the trials.

    A shared baseline counts once.
    """
    protocol = Protocol(**result["protocol"])
    for stage in STAGES:
        schedule = protocol.baseline if stage == "baseline" else protocol.fine_tune
        if schedule.min_updates >= FEW_UPDATES:
            continue
        short, steps, ended = [], [], 0
        for trial in trials:
            if trial.result is None or (stage == "baseline" and trial.branch_of is not None):
                continue
            ended += 1
            found = trial.result.stage(stage)
            each = _steps(stage, trial, result, protocol)
            if found.epochs < schedule.max_epochs and found.epochs * each < FEW_UPDATES:
                short.append(found.epochs * each)
                steps.append(each)
        if 2 * len(short) <= ended:
            continue
        epochs = -(-FEW_UPDATES // min(steps)) + schedule.patience
        longer = (
            f" --set protocol.{stage}.max_epochs={epochs}" if epochs > schedule.max_epochs else ""
        )
        yield (
            f"Train longer in a new run, with --set protocol.{stage}.min_updates={FEW_UPDATES}"
            f"{longer}: {len(short)} of {ended} {stage.replace('_', '-')}s were stopped after "
            f"fewer than {FEW_UPDATES} optimiser steps (median {median(short):g}), because an "
            f"epoch of this set has only {median(steps):g}."
        )


def _steps(stage: str, trial: TrialRecord, result: Mapping[str, Any], protocol: Protocol) -> int:
    """Optimiser steps of an epoch."""
    values = Hyperparameters.from_flat(trial.configuration)
    counts = result["dataset"]["counts"]
    if stage == "fine_tune" and values.fine_tune.train_share:
        own = values.fine_tune
        from_train = from_train_per_batch(own.batch_size, own.train_share)
        images_of_test: int = sum(counts["TEST"])
        return -(-images_of_test // (own.batch_size - from_train))
    images = sum(sum(counts[split]) for split in training_splits(stage, values, protocol))
    batch = (values.baseline if stage == "baseline" else values.fine_tune).batch_size
    return -(-images // batch)
