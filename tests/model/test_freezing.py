"""Frozen layers: no gradient, no moving statistics, whatever the parent does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from model.freezing import freeze
from model.network import Network, allocate, initialise

pytestmark = pytest.mark.unit


@pytest.fixture
def network() -> Network:
    network = allocate(3, (16, 16), dropout=0)
    initialise(network, torch.Generator().manual_seed(0))
    return network


@pytest.mark.parametrize("count", range(5))
def test_exactly_the_first_layers_stay_as_they_are(network: Network, count: int) -> None:
    freeze(network, count)
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


@pytest.mark.parametrize("count", [-1, 5])
def test_other_counts_are_refused(network: Network, count: int) -> None:
    with pytest.raises(ValueError, match=f"frozen_layers is {count}, but must be 0 to 4"):
        freeze(network, count)
    assert all(p.requires_grad for p in network.parameters())
