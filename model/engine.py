"""The interface between a stage and an engine: the request for an epoch, and its result.

`model.stage` decides and stores, and asks for one epoch at a time; an engine trains and validates
it. An engine may serve one stage in this process (`model.training`) or many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

EpochRow = dict[str, float]


class TrialDiverged(ArithmeticError):  # noqa: N818, named by its cause
    """A loss is not finite; the message names the epoch and the learning rate."""


@dataclass(frozen=True)
class TensorSplit:
    """A split on a device.

    Attributes:
        images: [N, 1, H, W] uint8 or float32.
        labels: [N] int64.
        digest: content digest of the data that it was made from.
        weights: [N] float32 >= 0, the images' weights in training; None if all weigh the same.
        from_train: number of the first images that are TRAIN's and fill up batches of the others,
            see `model.batches`; 0 if batches are drawn from all images together.
    """

    images: Tensor
    labels: Tensor
    digest: str
    weights: Tensor | None = None
    from_train: int = 0


@dataclass(frozen=True)
class EpochRequest:
    """The request to compute one epoch.

    Attributes:
        number: the epoch's number, counted from 1.
        learning_rate: the schedule's; the recipe derives each layer's from it.
        state: the previous epoch's `ComputedEpoch.state`, to continue from; None for the first
            epoch, and if the engine computed the previous epoch itself.
    """

    number: int
    learning_rate: float
    state: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class ComputedEpoch:
    """The result of one epoch of training and validation.

    Attributes:
        train_loss, validation_loss: means over images; not finite if training diverged.
        train_accuracy, validation_accuracy: in 0..1.
        seconds: time of training and validation.
        images_per_second: training speed.
        updates: optimiser steps of the epoch.
        environment: device, dtype, threads and software versions.
        weights: returns a copy of the state of the network that was validated, on the CPU. Valid
            until the next request.
        state: returns all tensors needed to continue. Valid until the next request.
    """

    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    images_per_second: float
    updates: int
    environment: Mapping[str, Any]
    weights: Callable[[], Mapping[str, Tensor]]
    state: Callable[[], Mapping[str, Tensor]]


Engine = Callable[[EpochRequest], ComputedEpoch]
"""Computes the epochs of one stage, in order."""
