"""Freeze layers: their weights stay as they are, and their batch statistics unless they follow.

A frozen layer has no gradients and stays in evaluation mode. With batch normalisation in training
mode, a layer without gradients still moved its running mean by 0.033 in a single batch. `train()`
on the parent network must not change the mode, unless the statistics shall follow the batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType

from torch import nn

from shiftsearch.model.network import Network


def freeze(network: Network, frozen: Sequence[bool], *, follow: bool = False) -> None:
    """Freeze some layers and thaw the others.

    Args:
        network: changed in place.
        frozen: a value for each of `network.layers`, then one for the head.
        follow: whether frozen layers take part in training mode, so that batches are normalised by
            their own statistics and the running ones follow.

    Raises:
        ValueError: `frozen` has another length.
    """
    for layer, is_frozen in zip([*network.layers, network.head], frozen, strict=True):
        layer.requires_grad_(not is_frozen)
        if is_frozen and not follow:
            layer.eval()
            layer.train = MethodType(_stay_in_evaluation, layer)
        elif "train" in vars(layer):
            del layer.train
            layer.train(network.training)


def _stay_in_evaluation(layer: nn.Module, mode: bool = True) -> nn.Module:
    """Replaces `nn.Module.train` of a frozen layer: the mode does not change."""
    del mode
    return layer
