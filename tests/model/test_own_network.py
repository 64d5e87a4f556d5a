"""A person's own network: its contract, its keys, its stages to the bit, and its bundle."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from shiftsearch.data.dataset import Dataset
from shiftsearch.model import own_network
from shiftsearch.model.architecture import LAYERS
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.network import allocate, initialise
from shiftsearch.model.own_network import OwnNetworkError, give
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.representation import layer_features, layer_names
from shiftsearch.model.size import network_size
from shiftsearch.model.store import Store, open_store

pytestmark = pytest.mark.unit

SOURCE = "nets:build@0123456789abcdef"
SIZE = (16, 16)


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(1, outputs), nn.GELU(),
        nn.MaxPool2d(2),
    )  # fmt: skip


def chain(classes: int, image_size: tuple[int, int]) -> nn.Module:
    places = image_size[0] // 4 * (image_size[1] // 4)
    second = nn.Sequential(*block(4, 6), nn.Flatten())
    head = nn.Linear(6 * places, classes)
    return nn.Sequential(OrderedDict(first=block(1, 4), second=second, head=head))


@pytest.fixture(autouse=True)
def functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a function behind."""
    monkeypatch.setattr(own_network, "_GIVEN", {})
    yield
    network_size.cache_clear()


def chosen(source: str = SOURCE, **values: Any) -> Hyperparameters:
    return Hyperparameters.from_flat({"network.name": "own", "network.source": source, **values})


def test_its_layers_are_the_children_before_the_last() -> None:
    give(SOURCE, chain, 3, SIZE)
    architecture = chosen().network.architecture
    assert architecture.layer_names == ("first", "second")
    network = allocate(3, SIZE, architecture=architecture)
    assert [layer.shape for layer in architecture.layers(SIZE)] == [(4, 8, 8), (96,)]
    *features, logits = layer_features(network, torch.zeros(2, 1, *SIZE), 2)
    assert [tuple(f.shape[1:]) for f in features] == [(4, 8, 8), (96,)]
    assert logits.shape == (2, 3)
    assert layer_names(network) == ("first", "second", "head")
    made = chain(3, SIZE)
    made.load_state_dict(dict(zip(made.state_dict(), network.state_dict().values(), strict=True)))
    images = torch.rand(5, 1, *SIZE)
    assert torch.equal(made(images), network.eval()(images))
    size = network_size(architecture, 3, SIZE)
    assert size.parameters == sum(p.numel() for p in made.parameters())
    assert size.multiply_adds == 9 * 4 * 256 + 9 * 24 * 64 + 96 * 3


def test_its_initial_weights_are_its_own_draws_from_the_given_generator_alone() -> None:
    give(SOURCE, chain, 3, SIZE)
    before = torch.get_rng_state()
    states = []
    for seed in (1, 1, 2):
        network = allocate(3, SIZE, architecture=chosen().network.architecture)
        initialise(network, torch.Generator().manual_seed(seed))
        states.append(network.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert (first["layers.0.1.weight"] == 1).all()  # its own group normalisation's start


def test_another_source_or_function_is_another_course() -> None:
    sources = ("nets:build@" + "0" * 16, "nets:build@" + "1" * 16, "nets:other@" + "0" * 16)
    flats = [{}, *({"network.name": "own", "network.source": source} for source in sources)]
    keys = {
        Course(
            "baseline", h.baseline, Schedule(), "", "", 3, SIZE, 0, 0,
            architecture=h.network.architecture,
        ).key
        for h in map(Hyperparameters.from_flat, flats)
    }  # fmt: skip
    assert len(keys) == 4


def test_without_its_function_it_is_refused_in_a_line() -> None:
    with pytest.raises(OwnNetworkError, match="nets:build: its function was not given"):
        allocate(3, SIZE, architecture=chosen().network.architecture)


# ---- the contract


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 1, 3, padding=1)
        self.two = nn.Conv2d(1, 1, 3, padding=1)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)).flatten(1)  # type: ignore[no-any-return]


class Random(nn.Flatten):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x) * self.weight, training=self.training)


class Unlike(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1  # type: ignore[no-any-return]


class Rooted(nn.Sequential):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.register_buffer("scale", torch.ones(1))


def flat(classes: int = 3, features: int = 256) -> list[nn.Module]:
    return [nn.Sequential(nn.Flatten(), nn.Linear(features, 8)), nn.Linear(8, classes)]


COUNTER = [0]


def changing(classes: int, image_size: tuple[int, int]) -> nn.Module:
    COUNTER[0] += 1
    return nn.Sequential(*flat(features=256), nn.Linear(3, 3 + COUNTER[0] % 2), nn.Linear(3, 3))


def drawing(classes: int, image_size: tuple[int, int]) -> nn.Module:
    network = nn.Sequential(*flat())
    with torch.no_grad():
        network[1].weight[0, 0] = float(np.random.default_rng().random())
    return network


BROKEN = {
    "takes nothing": (lambda: None, "raises TypeError: "),
    "raises": (lambda classes, image_size: 1 // 0, "raises ZeroDivisionError: "),
    "no module": (lambda *_: 5, "returns int, but must return a torch.nn.Module"),
    "no head": (lambda *_: nn.Sequential(nn.Linear(1, 1)), "with 1 children, but must have 2 to"),
    "too many": (
        lambda *_: nn.Sequential(*(nn.Linear(1, 1) for _ in range(LAYERS + 2))),
        f"with {LAYERS + 2} children, but must have 2 to {LAYERS + 1}",
    ),
    "no parameters": (
        lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(256, 3)),
        "layer '0' has no parameters",
    ),
    "of the root": (lambda *_: Rooted(*flat()), "'scale' belongs to the network itself"),
    "double": (lambda *_: nn.Sequential(*flat()).double(), "is float64, but must be float32"),
    "shared": (lambda *_: nn.Sequential(Shared(), nn.Linear(256, 3)), "share their memory"),
    "shape": (lambda *_: nn.Sequential(*flat(4)), "gives [4, 4] for 4 images and 3 classes"),
    "size": (lambda *_: nn.Sequential(*flat(3, 784)), "layer '0' cannot take [4, 1, 16, 16]: "),
    "no chain": (lambda *_: Unlike(*flat()), "do not compute what it computes itself"),
    "dropout": (
        lambda *_: nn.Sequential(Random(), nn.Linear(256, 3)),
        "draws random numbers when it computes images",
    ),
    "other tensors": (changing, "two calls returned networks with other tensors"),
    "lazy": (lambda *_: nn.Sequential(flat()[0], nn.LazyLinear(3)), "'1.weight' has no shape yet"),
    "other draws": (drawing, "drew other weights"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_refused_in_one_line(what: str) -> None:
    function, problem = BROKEN[what]
    before = torch.get_rng_state()
    with pytest.raises(OwnNetworkError) as caught:
        give(SOURCE, function, 3, SIZE)  # type: ignore[arg-type]
    assert all(line.startswith("network: nets:build: ") for line in caught.value.problems)
    assert any(problem in line for line in caught.value.problems)
    assert "\n" not in "".join(caught.value.problems)
    assert not own_network.is_given(SOURCE)
    assert torch.equal(torch.get_rng_state(), before)


# ---- stages and bundle

PROTOCOL = Protocol(baseline=Schedule(max_epochs=3), fine_tune=Schedule(max_epochs=2))
VALUES = {
    "baseline.batch_size": 16,
    "fine_tune.batch_size": 16,
    "fine_tune.frozen_layers": 1,
    "fine_tune.layer_decay": 0.5,
    "baseline.ema_decay": 0.5,
}


def run(data: ProtocolData, store: Store, device: Device) -> ProtocolRun:
    return ProtocolRun(chosen(**VALUES), data, PROTOCOL, store, device, seed=0)


def weights(found: Any) -> list[dict[str, bytes]]:
    stages = (found.baseline, found.fine_tune)
    return [
        {name: t.contiguous().numpy().tobytes() for name, t in stage.result.weights.items()}
        for stage in stages
    ]


def test_an_interrupted_protocol_ends_with_the_same_bits(
    small_data: ProtocolData, device: Device, tmp_path: Path
) -> None:
    give(SOURCE, chain, 3, SIZE)
    straight = run_protocol(run(small_data, open_store(tmp_path / "straight"), device))
    for until in (1, 2):
        stopped = run(small_data, open_store(tmp_path / "again"), device).baseline(until)
        assert stopped.epochs == until
    again = run_protocol(run(small_data, open_store(tmp_path / "again"), device))
    assert weights(again) == weights(straight)
    before, after = weights(straight)
    frozen = [name for name in before if before[name] == after[name]]
    assert frozen == [name for name in before if name.startswith("layers.0.")]


def test_a_bundle_needs_its_function_and_gives_the_numbers_of_the_run(
    small_data: ProtocolData, small_dataset: Dataset, device: Device, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    give(SOURCE, chain, 3, SIZE)
    found = run_protocol(run(small_data, open_store(tmp_path / "store"), device))
    folder = tmp_path / "best"
    save_bundle(
        folder, weights=found.fine_tune.result.weights,
        baseline_weights=found.baseline.result.weights, dataset=small_dataset,
        hyperparameters=chosen(**VALUES), protocol=PROTOCOL, metrics=[], versions={}, seed=0,
        number=0, replicate=0,
    )  # fmt: skip
    monkeypatch.setattr(own_network, "_GIVEN", {})
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    (line,) = caught.value.problems
    assert "--network nets:build" in line
    with pytest.raises(OwnNetworkError, match="returns int"):
        load_bundle(folder, lambda *_: 5)  # type: ignore[arg-type, return-value]
    with pytest.raises(BundleError, match="but must be"):  # another network's tensors
        load_bundle(folder, lambda *_: nn.Sequential(*flat()))
    selection = load_bundle(folder, chain).evaluate(small_dataset, device)[-2]
    assert selection["part"] == "selection"
    assert selection["accuracy"] == found.fine_tune.test2.accuracy
    images = small_dataset.splits["TEST2"].images
    assert load_bundle(folder).predict_proba(images, device).shape == (30, 3)


def test_a_bundle_of_another_architecture_takes_no_function(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    state = allocate(3, SIZE).state_dict()
    folder = tmp_path / "best"
    save_bundle(
        folder, weights=state, baseline_weights=state, dataset=small_dataset,
        hyperparameters=Hyperparameters(), protocol=PROTOCOL, metrics=[], versions={}, seed=0,
        number=0, replicate=0,
    )  # fmt: skip
    with pytest.raises(BundleError, match="'three blocks', so no function"):
        load_bundle(folder, chain)
