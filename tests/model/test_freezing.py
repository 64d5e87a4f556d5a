"""Frozen layers: no gradient, no moving statistics, whatever the parent does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from shiftsearch.model.freezing import freeze
from shiftsearch.model.network import Network, allocate, initialise

pytestmark = pytest.mark.unit


@pytest.fixture
def network() -> Network:
    network = allocate(3, (16, 16), dropout=0)
    initialise(network, torch.Generator().manual_seed(0))
    return network


def first(count: int) -> list[bool]:
    """The first `count` of the four layers and the head."""
    return [i < count for i in range(5)]


@pytest.mark.parametrize("count", range(5))
def test_exactly_the_first_layers_stay_as_they_are(network: Network, count: int) -> None:
    freeze(network, first(count))
    before = {k: t.clone() for k, t in network.state_dict().items()}
    parent = nn.Sequential(network)
    parent.eval()
    parent.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    F.cross_entropy(network(images), torch.arange(8) % 3).backward()
    optimiser.step()
    after = network.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    frozen = {k for k in before if k.startswith(tuple(f"layers.{i}." for i in range(count)))}
    assert moved == set(before) - frozen
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in network.named_parameters()} - frozen


@pytest.mark.parametrize("fused", [False, True])
def test_statistics_of_frozen_layers_may_follow_the_batches(network: Network, fused: bool) -> None:
    if fused:
        network.fuse()
    freeze(network.train(), first(3), follow=True)
    before = {k: t.clone() for k, t in network.state_dict().items()}
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    F.cross_entropy(network(images), torch.arange(8) % 3).backward()
    after = network.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved == {name for name, _ in network.named_buffers()}
    assert [p.grad is None for layer in network.layers for p in layer.parameters()] == (
        [True] * 9 + [False] * 2
    )
    network.eval()(images)
    assert all(torch.equal(t, after[name]) for name, t in network.state_dict().items())


def test_a_thawed_layer_is_as_if_it_had_never_been_frozen(network: Network) -> None:
    freeze(network.train(), [True] * 5)
    freeze(network, first(1))
    assert [layer.training for layer in network.layers] == [False, True, True, True]
    assert [p.requires_grad for p in network.head.parameters()] == [True, True]
    network.eval()
    freeze(network, first(0))
    assert not any(module.training for module in network.modules())
    assert all(module.training for module in network.train().modules())
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("fused", [False, True])
def test_a_layer_may_be_frozen_behind_a_trained_one(network: Network, fused: bool) -> None:
    if fused:
        network.fuse()
    freeze(network.train(), [False, True, False, False, False])
    before = {k: t.clone() for k, t in network.layers[1].state_dict().items()}
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    F.cross_entropy(network(images), torch.arange(8) % 3).backward()
    assert network.layers[0].convolution.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in network.layers[1].parameters())
    assert all(torch.equal(t, before[k]) for k, t in network.layers[1].state_dict().items())
