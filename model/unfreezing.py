"""Which layers are frozen in each epoch of the fine-tune; a policy is a function and its entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shiftsearch.model.hyperparameters import FineTuneHyperparameters

Policy = Callable[["FineTuneHyperparameters", int, int], Sequence[bool]]
"""A function of the fine-tune's hyperparameters, the number of layers without the head, and the
epoch, counted from 1. It returns whether each layer, then the head, is frozen in this epoch."""


def never(values: FineTuneHyperparameters, layers: int, epoch: int) -> Sequence[bool]:
    """The first `frozen_layers` stay frozen."""
    del epoch
    return [*(i < values.frozen_layers for i in range(layers)), False]


UNFREEZING: Mapping[str, Policy] = {
    "none": never,
}
"""Policies by name."""


def always_frozen(values: FineTuneHyperparameters, layers: int, epochs: int) -> Sequence[bool]:
    """Whether each layer, then the head, is frozen in all of the first `epochs` epochs."""
    policy = UNFREEZING[values.unfreezing]
    each = [policy(values, layers, epoch) for epoch in range(1, epochs + 1)]
    return [all(of_layer) for of_layer in zip(*each, strict=True)]
