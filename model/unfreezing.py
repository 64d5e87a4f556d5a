"""Which layers are frozen in each epoch of the fine-tune; a policy is a function and its entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shiftsearch.model.hyperparameters import FineTuneHyperparameters

Policy = Callable[["FineTuneHyperparameters", int, int], Sequence[bool]]
"""A function of the fine-tune's hyperparameters, the number of layers without the head, and the
epoch, counted from 1. It returns whether each layer, then the head, is frozen in this epoch."""


ENDS = ("input", "head")
"""The end from which frozen layers are counted."""


def frozen(values: FineTuneHyperparameters, layers: int, count: int) -> Sequence[bool]:
    """Whether each layer, then the head, is frozen if `count` are, from the end of `freeze_from`.

    From the input, the head is always trained. From the head, the head is the first to be frozen
    and the layer next to the input is always trained.
    """
    if values.freeze_from == "input":
        return [*(i < count for i in range(layers)), False]
    return [False, *(layers - i < count for i in range(1, layers + 1))]


def never(values: FineTuneHyperparameters, layers: int, epoch: int) -> Sequence[bool]:
    """`frozen_layers` layers stay frozen."""
    del epoch
    return frozen(values, layers, values.frozen_layers)


def gradual(values: FineTuneHyperparameters, layers: int, epoch: int) -> Sequence[bool]:
    """Every `thaw_every` epochs, the frozen layer next to the trained ones is thawed.

    Source: Howard and Ruder 2018 (ULMFiT), arXiv 1801.06146, section 3.3, which begins with the
    head alone and thaws one more layer in each epoch.
    """
    thawed = (epoch - 1) // values.thaw_every
    return frozen(values, layers, min(values.frozen_layers, layers) - thawed)


def linear_probe(values: FineTuneHyperparameters, layers: int, epoch: int) -> Sequence[bool]:
    """The head alone is trained for `probe_epochs`, then all layers but the frozen ones.

    Source: Kumar et al. 2022 (LP-FT), arXiv 2202.10054, section 3.4.
    """
    if epoch <= values.probe_epochs:
        return [True] * layers + [False]
    return never(values, layers, epoch)


UNFREEZING: Mapping[str, Policy] = {
    "none": never,
    "gradual": gradual,
    "linear probe": linear_probe,
}
"""Policies by name."""


def always_frozen(values: FineTuneHyperparameters, layers: int, epochs: int) -> Sequence[bool]:
    """Whether each layer, then the head, is frozen in all of the first `epochs` epochs."""
    policy = UNFREEZING[values.unfreezing]
    each = [policy(values, layers, epoch) for epoch in range(1, epochs + 1)]
    return [all(of_layer) for of_layer in zip(*each, strict=True)]
