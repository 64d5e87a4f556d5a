"""Whether the stages learnt anything: their accuracies, and their optimiser steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.model.batches import from_train_per_batch
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.recipe import training_splits
from shiftsearch.model.result import STAGES, Stage
from shiftsearch.model.store import Store

Counts = Mapping[str, Sequence[int]]
"""Images of each class, by split."""


def fit(
    titled: Mapping[str, Candidate], store: Store, counts: Counts, protocol: Protocol
) -> dict[str, Any]:
    """The key `fit` of `result.json`.

    Args:
        titled: configurations with finished replicates, by title.
        store: the run's.
        counts: images of each class, by split.
        protocol: the run's.

    Returns:
        By title and stage: `epochs` and `updates` (optimiser steps) of each replicate, and
        `train_accuracy` and `validation_accuracy` in 0..1 in the epoch that was kept, means over
        the replicates; None if the store no longer has the course of one.
    """
    return {
        title: {stage: _of_stage(stage, candidate, store, counts, protocol) for stage in STAGES}
        for title, candidate in titled.items()
    }


def _of_stage(
    stage: Stage, candidate: Candidate, store: Store, counts: Counts, protocol: Protocol
) -> dict[str, Any]:
    values = Hyperparameters.from_flat(candidate.configuration)
    steps = steps_of_epoch(stage, values, counts, protocol)
    stages = [result.stage(stage) for _, result in sorted(candidate.results.items())]
    kept = []
    for one in stages:
        entry = store.load(one.course, "final")
        history = [] if entry is None else entry.record.get("history", [])
        kept += [row for row in history if row["epoch"] == one.best_epoch]
    accuracies = {
        f"{name}_accuracy": fmean(row[f"{name}_accuracy"] for row in kept)
        if len(kept) == len(stages)
        else None
        for name in ("train", "validation")
    }
    epochs = [one.epochs for one in stages]
    return {"epochs": epochs, "updates": [n * steps for n in epochs], **accuracies}


def steps_of_epoch(stage: str, values: Hyperparameters, counts: Counts, protocol: Protocol) -> int:
    """Optimiser steps of an epoch of a stage."""
    if stage == "fine_tune" and values.fine_tune.train_share:
        own = values.fine_tune
        from_train = from_train_per_batch(own.batch_size, own.train_share)
        images_of_test = sum(counts["TEST"])
        return -(-images_of_test // (own.batch_size - from_train))
    images = sum(sum(counts[split]) for split in training_splits(stage, values, protocol))
    batch = (values.baseline if stage == "baseline" else values.fine_tune).batch_size
    return -(-images // batch)
