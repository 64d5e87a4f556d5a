"""Batch statistics that are re-estimated on images, against ones computed apart."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from shiftsearch.model import statistics
from shiftsearch.model.device import Device
from shiftsearch.model.network import Network, allocate, initialise
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.statistics import re_estimate

pytestmark = pytest.mark.unit


@pytest.fixture
def network() -> Network:
    """With statistics that fit no image, and a count of batches."""
    network = allocate(3, (16, 16))
    initialise(network, torch.Generator().manual_seed(0))
    for name, buffer in network.named_buffers():
        buffer.fill_(3 if name.endswith("tracked") else 0.5)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def statistics_of(network: Network) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def by_hand(network: Network, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each block's mean and unbiased variance, averaged over the batches by their sizes."""
    total = sum(len(batch) for batch in batches)
    found: list[tuple[Tensor, Tensor]] = [(torch.zeros(()), torch.zeros(()))] * 3
    blocks = copy.deepcopy(network).double().train().layers[:3]
    for batch in batches:
        x = batch.double() / 255
        for i, block in enumerate(blocks):
            block.fused = None
            z = block.convolution(x)
            share = len(batch) / total
            mean, variance = z.mean((0, 2, 3)), z.var((0, 2, 3))
            found[i] = (found[i][0] + share * mean, found[i][1] + share * variance)
            x = block(x)
    return found


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("batch", [512, 14])
@torch.no_grad()
def test_statistics_are_the_means_of_those_of_mixed_batches(
    network: Network,
    small_data: ProtocolData,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    fused: bool,
) -> None:
    """30 images: one batch, or batches of every third image; 41 images: 14, 14 and 13."""
    monkeypatch.setattr(statistics, "BATCH", batch)
    for images in (small_data.test.images, small_data.train.images):
        parts = 1 if batch == 512 else 3
        expected = by_hand(network, [images[i::parts] for i in range(parts)])
        if fused:
            network.fuse()
        weights = {name: p.clone() for name, p in network.named_parameters()}
        re_estimate(network, None, images, device)
        for block, (mean, variance) in zip(network.layers, expected, strict=False):
            torch.testing.assert_close(block.normalisation.running_mean, mean.float())
            torch.testing.assert_close(block.normalisation.running_var, variance.float())
            assert block.normalisation.num_batches_tracked == parts
            assert block.normalisation.momentum == 0.1
        assert not any(module.training for module in network.modules())
        assert all(torch.equal(p, weights[name]) for name, p in network.named_parameters())


def test_layers_that_are_not_chosen_keep_theirs_and_use_them(
    network: Network, small_data: ProtocolData, device: Device
) -> None:
    before = statistics_of(network)
    re_estimate(network, [False, True, False, True, True], small_data.test.images, device)
    after = statistics_of(network)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[1] for name in moved} == {"1"}
    with torch.no_grad():
        x = network.begin(small_data.test.images.float() / 255, 1)
        z = network.layers[1].convolution(x)
    torch.testing.assert_close(after["layers.1.normalisation.running_mean"], z.mean((0, 2, 3)))


def test_the_statistics_of_a_head_are_among_them(
    network: Network, small_data: ProtocolData, device: Device
) -> None:
    """A person's own network may have batch normalisation in its head."""
    normalisation = nn.BatchNorm1d(4)
    network.head = nn.Sequential(nn.Linear(512, 4), normalisation, nn.Linear(4, 3))
    images = small_data.test.images
    re_estimate(network, [True, True, True, True, False], images, device)
    assert normalisation.num_batches_tracked == 0
    re_estimate(network, None, images, device)
    with torch.no_grad():  # the layers before normalise by batch, too
        features = network.train().begin(images.float() / 255, 4)
        expected = network.head[0](features).mean(0)
    torch.testing.assert_close(normalisation.running_mean, expected, rtol=1e-4, atol=1e-5)
    assert normalisation.num_batches_tracked == 1


def test_nothing_changes_without_a_chosen_layer(
    network: Network, small_data: ProtocolData, device: Device
) -> None:
    before = statistics_of(network)
    re_estimate(network, [False, False, False, True, True], small_data.test.images, device)
    assert all(torch.equal(t, before[name]) for name, t in network.named_buffers())
