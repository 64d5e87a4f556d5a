"""The size of a network is what is counted by hand, at any size of image."""

from __future__ import annotations

import pytest
import torch

from shiftsearch.model.architecture import ThreeBlocks
from shiftsearch.model.network import Network
from shiftsearch.model.size import NetworkSize, network_size

pytestmark = pytest.mark.unit


def counted(filters: tuple[int, ...], dense: int, classes: int, side: int) -> NetworkSize:
    """The size of blocks, a dense layer and a head, by the textbook."""
    parameters = work = 0
    for inputs, outputs in zip((1, *filters), filters, strict=False):
        weights = 9 * inputs * outputs
        parameters += weights + 2 * outputs
        work += weights * side**2
        side //= 2
    for inputs, outputs in ((filters[-1] * side**2, dense), (dense, classes)):
        parameters += (inputs + 1) * outputs
        work += inputs * outputs
    return NetworkSize(parameters, work)


@pytest.mark.parametrize("side", [16, 28, 33])
def test_it_is_what_is_counted_by_hand(side: int) -> None:
    assert network_size(ThreeBlocks(), 6, (side, side)) == counted((32, 64, 128), 512, 6, side)
    narrow = ThreeBlocks(filters=(4, 8, 16), dense=24)
    assert network_size(narrow, 3, (side, side)) == counted((4, 8, 16), 24, 3, side)


def test_the_reference_network_at_its_own_size() -> None:
    size = network_size(ThreeBlocks(), 6, (28, 28))
    assert size == NetworkSize(parameters=686_310, multiply_adds=8_044_032)
    assert size.parameters == sum(p.numel() for p in Network(6, (28, 28)).parameters())


def test_it_draws_nothing() -> None:
    before = torch.get_rng_state()
    network_size(ThreeBlocks(filters=(2, 3, 5), dense=7), 6, (28, 28))
    assert torch.equal(torch.get_rng_state(), before)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 7\), but both sides must be >= 8"):
        network_size(ThreeBlocks(), 3, (16, 7))
