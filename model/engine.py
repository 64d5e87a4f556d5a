"""What a stage asks of an engine, and what the engine answers.

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
    """Training left the finite numbers; the message says where and under which learning rate."""


@dataclass(frozen=True)
class TensorSplit:
    """A split on a device.

    Attributes:
        images: [N, 1, H, W] uint8 or float32.
        labels: [N] int64.
        digest: the content digest of what it was made from.
    """

    images: Tensor
    labels: Tensor
    digest: str


@dataclass(frozen=True)
class EpochRequest:
    """Compute one epoch, please.

    Attributes:
        number: of the epoch, counted from 1.
        learning_rate: of the schedule; the recipe makes each layer's from it.
        state: what `ComputedEpoch.state` gave after the epoch before, to go on from; None where
            the engine computed that epoch itself, and before the first.
    """

    number: int
    learning_rate: float
    state: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class ComputedEpoch:
    """An epoch, trained and validated.

    Attributes:
        train_loss, validation_loss: means over images; not finite where training diverged.
        train_accuracy, validation_accuracy: in 0..1.
        seconds: of training and validation.
        images_per_second: in training.
        environment: device, dtype, threads and versions it was computed under.
        weights: makes a copy of the network's state, on the CPU. Valid until the next request.
        state: all tensors that are needed to go on. Valid until the next request.
    """

    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    images_per_second: float
    environment: Mapping[str, Any]
    weights: Callable[[], Mapping[str, Tensor]]
    state: Callable[[], Mapping[str, Tensor]]


Engine = Callable[[EpochRequest], ComputedEpoch]
"""Computes the epochs of one stage, in order."""
