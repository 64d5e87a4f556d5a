"""Blocks of another depth, width or form: what they compute, their keys, and their stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import ValidationError
from torch import Tensor, nn

from shiftsearch.model.architecture import LAYERS, REFERENCE, Architecture, Blocks
from shiftsearch.model.block_parts import Residual, SqueezeExcitation
from shiftsearch.model.device import Device
from shiftsearch.model.hyperparameters import (
    Hyperparameters,
    NetworkHyperparameters,
    Protocol,
    Schedule,
)
from shiftsearch.model.network import Block, Network, allocate, initialise
from shiftsearch.model.prefix import FrozenPrefix
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.size import network_size
from shiftsearch.model.store import Store, open_store
from tests.model.test_golden import REFERENCE_COURSES

pytestmark = pytest.mark.unit

OTHERS: list[dict[str, Any]] = [
    {"depth": 2},
    {"depth": 4},
    {"width": 0.25},
    {"residual": True},
    {"attention": "squeeze_excitation"},
    {"first_kernel": 5},
]
ALL: dict[str, Any] = {
    "depth": 2,
    "width": 0.25,
    "residual": True,
    "attention": "squeeze_excitation",
    "first_kernel": 7,
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(architecture: Architecture, size: tuple[int, int] = (28, 28)) -> Network:
    network = allocate(3, size, dropout=0, architecture=architecture)
    initialise(network, generator(0))
    return network


def gradients(network: Network, images: Tensor) -> list[Tensor]:
    """The logits, and the gradient of each parameter."""
    logits = network(images)
    F.cross_entropy(logits, torch.arange(len(images)) % 3).backward()
    return [logits, *(p.grad for p in network.parameters() if p.grad is not None)]


def plain(network: Network, images: Tensor, kernel: int) -> Tensor:
    """The network with all parts on, from its weights and torch's functions alone."""
    state, x = dict(network.named_parameters()), images
    for i in range(len(network.layers) - 1):
        at = f"layers.{i}.block."
        side = kernel if i == 0 else 3
        y = F.conv2d(x, state[f"{at}block.convolution.weight"], padding=side // 2)
        weight, bias = (state[f"{at}block.normalisation.{k}"] for k in ("weight", "bias"))
        y = F.batch_norm(y, None, None, weight, bias, training=True)
        y = F.max_pool2d(F.relu(y), 2)
        mean = y.sum((2, 3)) / (y.shape[2] * y.shape[3])
        hidden = F.relu(mean @ state[f"{at}squeeze.weight"].T + state[f"{at}squeeze.bias"])
        factor = torch.sigmoid(hidden @ state[f"{at}excite.weight"].T + state[f"{at}excite.bias"])
        projection = state[f"layers.{i}.projection.weight"][:, :, 0, 0]
        pooled = F.avg_pool2d(x, 2)
        x = torch.einsum("nchw,nc->nchw", y, factor)
        x = x + torch.einsum("nchw,dc->ndhw", pooled, projection)
    last = f"layers.{len(network.layers) - 1}.linear"
    x = F.relu(F.linear(x.flatten(1), state[f"{last}.weight"], state[f"{last}.bias"]))
    return F.linear(x, state["head.weight"], state["head.bias"])


@pytest.mark.parametrize("size", [(28, 28), (17, 22)])
def test_with_all_parts_it_is_the_plain_formulation(size: tuple[int, int]) -> None:
    network = made(Blocks(**ALL), size).double()
    images = torch.rand(6, 1, *size, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(network(images), plain(network, images, 7))
    assert [type(layer) for layer in network.layers][:2] == [Residual] * 2
    attended = network.layers[0].block
    assert isinstance(attended, SqueezeExcitation)
    assert (attended.squeeze.out_features, attended.block.convolution.kernel_size) == (1, (7, 7))


def test_with_its_default_values_it_is_the_reference_network_to_the_bit() -> None:
    images = torch.rand(5, 1, 28, 28, generator=generator(1))
    one, other = made(REFERENCE), made(Blocks())
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(map(torch.equal, gradients(one, images), gradients(other, images)))
    assert Blocks().layers((28, 28)) == REFERENCE.layers((28, 28))


@pytest.mark.parametrize(
    ("values", "filters"),
    [
        ({"depth": 4}, (32, 64, 128, 256)),
        ({"depth": 2, "width": 0.25}, (8, 16)),
        ({"width": 0.3}, (10, 19, 38)),
        ({"width": 2.0}, (64, 128, 256)),
    ],
)
def test_depth_and_width_give_the_filters(
    values: dict[str, Any], filters: tuple[int, ...]
) -> None:
    network = made(Blocks(**values), (16, 16))
    found = [m.convolution.out_channels for m in network.modules() if isinstance(m, Block)]
    assert tuple(found) == filters
    assert made(Blocks(depth=4)).layers[-1].linear.in_features == 256
    assert Blocks(depth=4).least_side == 16
    assert len(Blocks(depth=4).layer_names) == LAYERS


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 1},
        {"depth": 5},
        {"width": 0.1},
        {"width": 5.0},
        {"residual": 1},
        {"attention": "self"},
        {"first_kernel": 4},
        {"first_kernel": 9},
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    for kind in (Blocks, NetworkHyperparameters):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            kind(name="blocks", **wrong)


def test_its_fields_exist_with_its_name_alone() -> None:
    for values in OTHERS:
        with pytest.raises(ValidationError, match="exists only when name is 'blocks'"):
            NetworkHyperparameters(**values)


def test_each_field_is_in_the_key_and_the_reference_has_none() -> None:
    course = REFERENCE_COURSES[1]
    values = [NetworkHyperparameters(name="blocks", **v) for v in ({}, *OTHERS)]
    keys = [dataclasses.replace(course, architecture=v.architecture).key for v in values]
    assert len({course.key, *keys}) == len(OTHERS) + 2
    assert NetworkHyperparameters().architecture.content() == {}
    # Stored stages lie under such a key.
    assert keys[:2] == ["a0489822c21fcc7a1e1d60ee245af11a", "689497ef61bdf66e827ea1833c40c8a8"]


@pytest.mark.parametrize("values", [*OTHERS, ALL], ids=str)
def test_fused_it_computes_the_same(values: dict[str, Any]) -> None:
    images = torch.rand(8, 1, 16, 16, generator=generator(1))
    images = images.contiguous(memory_format=torch.channels_last)
    found = []
    for fused in (False, True):
        network = made(Blocks(**values), (16, 16)).to(memory_format=torch.channels_last)
        if fused:
            network.fuse()
            blocks = [m for m in network.modules() if isinstance(m, Block)]
            assert len(blocks) == len(network.layers) - 1
            assert all(block.fused is not None for block in blocks)
        found.append([*gradients(network, images), network.eval()(images)])
    # By the whole tensor: of two values that are almost equal, rounding decides the maximum.
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= 0.02 * one.norm()


def test_the_outputs_of_frozen_layers_are_kept_as_they_are_computed(device: Device) -> None:
    network = made(Blocks(**ALL), (16, 16)).eval()
    images = torch.rand(20, 1, 16, 16, generator=generator(1))
    prefix = FrozenPrefix(network, 2, device)
    outputs = prefix.outputs(images, 10)
    assert outputs is not None
    with torch.no_grad():
        assert torch.equal(outputs[:10], prefix(images[:10]))
        assert torch.equal(network.finish(outputs[10:], 2), network(images[10:]))


def numbers(run: ProtocolRun) -> Any:
    """All numbers of both stages, bit for bit, without times."""
    report = run_protocol(run)
    times = ("seconds", "images_per_second")
    return [
        (
            [{k: v for k, v in row.items() if k not in times} for row in stage.result.history],
            {k: t.contiguous().numpy().tobytes() for k, t in stage.result.weights.items()},
            stage.test2.accuracy,
        )
        for stage in (report.baseline, report.fine_tune)
    ]


def test_an_interrupted_protocol_ends_with_the_same_bits(
    small_data: ProtocolData, device: Device, tmp_path: Path
) -> None:
    """Both stages have the one network; the second freezes two of its layers."""
    protocol = Protocol(baseline=Schedule(max_epochs=3), fine_tune=Schedule(max_epochs=2))
    chosen = Hyperparameters.from_flat(
        {f"network.{name}": value for name, value in {"name": "blocks", **ALL}.items()}
        | {f"{stage}.batch_size": 16 for stage in ("baseline", "fine_tune")}
    )

    def run(store: Store) -> ProtocolRun:
        return ProtocolRun(chosen, small_data, protocol, store, device, seed=0)

    straight = numbers(run(open_store(tmp_path / "straight")))
    for until in (1, 2):
        assert run(open_store(tmp_path / "again")).baseline(until).epochs == until
    assert numbers(run(open_store(tmp_path / "again"))) == straight


def test_its_size_is_counted_by_hand() -> None:
    size = network_size(Blocks(**ALL), 6, (28, 28))
    parameters = work = 0
    for inputs, outputs, side, kernel, hidden in ((1, 8, 28, 7, 1), (8, 16, 14, 3, 2)):
        convolution, projection = kernel**2 * inputs * outputs, inputs * outputs
        parameters += convolution + 2 * outputs + projection
        parameters += 2 * outputs * hidden + outputs + hidden
        work += convolution * side**2 + projection * (side // 2) ** 2 + 2 * outputs * hidden
    for inputs, outputs in ((16 * 7 * 7, 512), (512, 6)):
        parameters += (inputs + 1) * outputs
        work += inputs * outputs
    assert (size.parameters, size.multiply_adds) == (parameters, work)


def test_attention_costs_little() -> None:
    """Less than 1 % of the multiply-adds of each block, as its docstring says."""
    for width in (0.25, 1.0, 2.0):
        architecture = Blocks(depth=3, width=width, attention="squeeze_excitation")
        for i, layer in enumerate(made(architecture).layers[:3]):
            assert isinstance(layer, SqueezeExcitation)
            extra = sum(m.weight.numel() for m in (layer.squeeze, layer.excite))
            convolution: nn.Conv2d = layer.block.convolution
            assert extra < 0.01 * convolution.weight.numel() * (28 >> i) ** 2
