"""Recommendation for small sets, of which an epoch has few optimiser steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from shiftsearch.experiments.outcome.fit import steps_of_epoch
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.result import STAGES, Stage
from shiftsearch.search.study.records import TrialRecord

FEW_UPDATES = 100
"""Optimiser steps below which a stage counts as short; a convention, not a measured limit."""


@dataclass(frozen=True)
class ShortStage:
    """A stage that ended after fewer than `FEW_UPDATES` optimiser steps in most of the trials.

    Attributes:
        stage: its name.
        short, ended: trials in which it was so short, and all trials that trained it.
        updates: optimiser steps of the short ones, median.
        steps: optimiser steps of their epochs, median.
        settings: `KEY=VALUE` of an experiment in which it is not.
    """

    stage: Stage
    short: int
    ended: int
    updates: float
    steps: float
    settings: tuple[str, ...]


def few_updates(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Stages that patience ended after fewer than `FEW_UPDATES` steps, in most of the trials."""
    for found in short_stages(result, trials, by_patience=True):
        longer = " ".join(f"--set {setting}" for setting in found.settings)
        yield (
            f"Train longer in a new run, with {longer}: {found.short} of {found.ended} "
            f"{found.stage.replace('_', '-')}s were stopped after fewer than {FEW_UPDATES} "
            f"optimiser steps (median {found.updates:g}), because an epoch of this set has only "
            f"{found.steps:g}."
        )


def short_stages(
    result: Mapping[str, Any], trials: Sequence[TrialRecord], *, by_patience: bool = False
) -> Iterator[ShortStage]:
    """The stages that ended too early in most of the trials; a shared baseline counts once.

    Args:
        result: content of `result.json`.
        trials: the study's trials.
        by_patience: leave out what ended because `max_epochs` allows no more.
    """
    protocol, counts = Protocol(**result["protocol"]), result["dataset"]["counts"]
    for stage in STAGES:
        schedule = protocol.baseline if stage == "baseline" else protocol.fine_tune
        if by_patience and schedule.min_updates >= FEW_UPDATES:
            continue
        short, steps, ended = [], [], 0
        for trial in trials:
            if trial.result is None or (stage == "baseline" and trial.branch_of is not None):
                continue
            ended += 1
            epochs = trial.result.stage(stage).epochs
            values = Hyperparameters.from_flat(trial.configuration)
            each = steps_of_epoch(stage, values, counts, protocol)
            if by_patience and epochs >= schedule.max_epochs:
                continue
            if epochs * each < FEW_UPDATES:
                short.append(epochs * each)
                steps.append(each)
        if 2 * len(short) <= ended:
            continue
        longest = -(-FEW_UPDATES // min(steps)) + schedule.patience
        settings = []
        if schedule.min_updates < FEW_UPDATES:
            settings.append(f"protocol.{stage}.min_updates={FEW_UPDATES}")
        if longest > schedule.max_epochs:
            settings.append(f"protocol.{stage}.max_epochs={longest}")
        yield ShortStage(stage, len(short), ended, median(short), median(steps), tuple(settings))
