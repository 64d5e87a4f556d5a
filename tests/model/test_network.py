"""The network: the function is the plain one, the draws are seeded, any size from 8x8 works."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from shiftsearch.model.network import Block, Network, SeededDropout, allocate, initialise

pytestmark = pytest.mark.unit


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_network(size: tuple[int, int], seed: int = 0) -> Network:
    network = allocate(3, size, dropout=0)
    initialise(network, generator(seed))
    return network


def plain_order(block: Block, x: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(block.normalisation(block.convolution(x))), 2)


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (33, 33), (16, 40)])
def test_pooling_before_relu_is_the_plain_order_to_the_bit(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(5, 1, *size, generator=generator(1))
    results = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(Block, "forward", plain_order)
        network = make_network(size)
        logits = network(images)
        F.cross_entropy(logits, torch.arange(5) % 3).backward()
        gradients = [p.grad for p in network.parameters()]
        results.append([logits, *gradients, *network.state_dict().values()])
    assert results[0][0].shape == (5, 3)
    assert all(map(torch.equal, *results))


def test_the_reference_network_has_the_published_sizes() -> None:
    network = Network(6, (28, 28))
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128)
    normalisations = 2 * (32 + 64 + 128)
    dense = (3 * 3 * 128 + 1) * 512 + (512 + 1) * 6
    assert sum(p.numel() for p in network.parameters()) == convolutions + normalisations + dense
    assert network.dropout.probability == 0.5


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 7\), but both sides must be >= 8"):
        Network(3, (16, 7))


def test_initial_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (make_network((16, 16), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    # In the order in which stored runs drew them.
    places = [name.rpartition(".")[0] for name in first]
    assert places == sorted(places, key=lambda name: (name == "head", name))
    drawn = [k for k in first if "normalisation" not in k]
    assert len(drawn) == 7
    assert not any(torch.equal(first[k], other[k]) for k in drawn)


def test_initial_weights_have_the_scale_of_torchs_defaults() -> None:
    mine, defaults = make_network((28, 28)), Network(3, (28, 28))
    for (name, own), default in zip(mine.named_parameters(), defaults.parameters(), strict=True):
        if own.numel() > 256 and "normalisation" not in name:
            assert own.std().item() == pytest.approx(default.std().item(), rel=0.1), name
            assert own.abs().max() <= default.abs().max() * 1.1, name
    for module in mine.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()
            assert module.num_batches_tracked == 0


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    dropout = SeededDropout(0.25)
    dropout.generator = generator(0)
    dropped = dropout(torch.ones(10_000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([4 / 3])
    dropout.generator = generator(0)
    assert torch.equal(dropout(torch.ones(10_000)), dropped)
    assert torch.equal(dropout.eval()(torch.ones(5)), torch.ones(5))


def test_dropout_without_a_generator_is_refused_where_it_would_draw() -> None:
    assert torch.equal(SeededDropout(0)(torch.ones(5)), torch.ones(5))
    with pytest.raises(RuntimeError, match="set it before training"):
        SeededDropout(0.5)(torch.ones(5))
