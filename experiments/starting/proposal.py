"""Settings and a space that fit the number and the size of the images, and their shift."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftsearch.data.augmentation import max_translation
from shiftsearch.data.preprocessing import CENTRES, POLARITIES
from shiftsearch.experiments.report.advice_on_updates import FEW_UPDATES
from shiftsearch.experiments.starting.survey import Survey
from shiftsearch.experiments.wording import duration
from shiftsearch.model.hyperparameters import BALANCES, Hyperparameters, Protocol, Schedule
from shiftsearch.search.executing.resources import Node, fit_resources

MOST_TRIALS, LEAST_TRIALS = 40, 16
MOST_SECONDS = 3600
"""The trials are fewer than `MOST_TRIALS` if they may take longer than this."""

_BATCHES: Mapping[int, Sequence[int]] = {
    0: (16, 32, 64),
    1000: (32, 64, 128),
    10_000: (64, 128, 256),
}
"""Batch sizes to choose from, by the least number of images of a training set. All have 64, the
reference configuration's."""
_MOVED = 3 / 28
"""The largest translation in sides of the image; that of the shipped experiment digits6."""

_STEPS: Mapping[str, Sequence[str]] = {
    "polarity": (*POLARITIES,),
    "intensity": ("none", "standardise", "stretch"),
    "centre": (*CENTRES,),
}
"""What the space may choose from for each step of the preprocessing that the shift suggests."""


@dataclass(frozen=True)
class Proposal:
    """The values of an experiment file.

    Attributes:
        trials: number of trials.
        time: how long the trials take at most on this machine, in words.
        machine: how many trials run at once, and why.
        objective: what trials are ranked by.
        schedules: by stage, the fields of its schedule that differ from the default.
        batch_sizes: by stage, the choices.
        translation: largest translation and step, pixels.
        balances: choices of `balance`; empty if classes have about equal size.
        steps: choices of the fields of `preprocessing` that the shift suggests.
    """

    trials: int
    time: str
    machine: str
    objective: str
    schedules: Mapping[str, Mapping[str, int]]
    batch_sizes: Mapping[str, Sequence[int]]
    translation: tuple[int, int]
    balances: Sequence[str]
    steps: Mapping[str, Sequence[str]]


def propose(found: Survey, node: Node, images_per_second: float) -> Proposal:
    """Values that fit what a folder holds.

    Args:
        found: what it holds.
        node: the machine.
        images_per_second: of one training on it.

    Raises:
        search.executing.resources.ResourceError: not even one trial fits the machine.
    """
    counts = {stage: len(found.dataset.splits[split]) for stage, split in _TRAINED.items()}
    schedules = {stage: longer(count) for stage, count in counts.items()}
    epochs = {s: Schedule(**schedules[s]).max_epochs for s in counts}
    images = sum(counts[stage] * epochs[stage] for stage in counts)
    resources = fit_resources([node], None, None, None, MOST_TRIALS)
    each = images / images_per_second / resources.concurrency
    trials = max(LEAST_TRIALS, min(MOST_TRIALS, math.floor(MOST_SECONDS / each)))
    return Proposal(
        trials=trials,
        time=f"at most {duration(trials * each)} on this machine before retraining",
        machine=resources.reason,
        objective="balanced_accuracy" if found.is_imbalanced else "accuracy",
        schedules=schedules,
        batch_sizes={stage: batch_sizes(count) for stage, count in counts.items()},
        translation=translations(found.dataset.image_size),
        balances=BALANCES if found.is_imbalanced else (),
        steps={name: _STEPS[name] for name in found.shift},
    )


_TRAINED = {"baseline": "TRAIN", "fine_tune": "TEST"}


def longer(images: int) -> dict[str, int]:
    """Fields of a stage's schedule for a small set, whose epochs have few optimiser steps.

    Else patience could end the stage before `FEW_UPDATES` steps.
    """
    schedule = Protocol().baseline
    steps = math.ceil(images / Hyperparameters().baseline.batch_size)
    if (schedule.patience + 1) * steps >= FEW_UPDATES:
        return {}
    epochs = math.ceil(FEW_UPDATES / steps) + schedule.patience
    return {"max_epochs": max(schedule.max_epochs, epochs), "min_updates": FEW_UPDATES}


def batch_sizes(images: int) -> Sequence[int]:
    """The batch sizes to choose from for a training set."""
    return _BATCHES[max(least for least in _BATCHES if least <= images)]


def translations(size: tuple[int, int]) -> tuple[int, int]:
    """The largest translation, and the step of the range, for images of (H, W) pixels."""
    most = max(1, min(round(_MOVED * min(size)), math.floor(max_translation(size))))
    step = max(1, most // 4)
    return most // step * step, step
