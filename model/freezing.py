"""Freezing: a layer keeps its weights and its statistics, whatever the parent does.

A frozen layer needs both halves. Without gradients alone, batch normalisation left in train mode
moved its running mean by 0.033 in a single batch; `train()` on the parent must not undo it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType

from torch import nn

from shiftsearch.model.network import Network


def freeze(network: Network, frozen: Sequence[bool]) -> None:
    """Freeze some layers and thaw the others.

    Args:
        network: changed in place.
        frozen: one for each of `network.layers`, then one for the head.

    Raises:
        ValueError: when there are not so many.
    """
    for layer, is_frozen in zip([*network.layers, network.head], frozen, strict=True):
        layer.requires_grad_(not is_frozen)
        if is_frozen:
            layer.eval()
            layer.train = MethodType(_stay_in_evaluation, layer)
        elif "train" in vars(layer):
            del layer.train
            layer.train(network.training)


def _stay_in_evaluation(layer: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for `nn.Module.train` of a frozen layer: the mode does not change."""
    del mode
    return layer
