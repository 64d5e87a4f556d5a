"""An architecture is a value: checked, keyed unless it is the reference, true of its network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from shiftsearch.model.architecture import ARCHITECTURES, Architecture, Blocks, Layer, ThreeBlocks
from shiftsearch.model.bundle_format import misfits, recorded
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.network import Dense, Network, allocate
from shiftsearch.model.representation import layer_features, layer_names
from tests.model.test_golden import REFERENCE_COURSES

pytestmark = pytest.mark.unit

NARROW = ThreeBlocks(filters=(4, 8, 16), dense=24)
BLOCKS = [
    Blocks(depth=4, width=0.25, attention="squeeze_excitation"),
    Blocks(depth=2, width=0.25, residual=True, first_kernel=7),
]


class OneLayer(Architecture):
    """Another architecture, as little as it takes."""

    width: int = 5

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("wide",)

    @property
    def least_side(self) -> int:
        return 1

    def layers(self, image_size: tuple[int, int]) -> tuple[Layer, ...]:
        return (Layer("wide", (self.width,)),)

    def modules(self, image_size: tuple[int, int]) -> Sequence[nn.Module]:
        return [Dense(image_size[0] * image_size[1], self.width)]


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (17, 33)])
@pytest.mark.parametrize("architecture", [ThreeBlocks(), NARROW, OneLayer(), *BLOCKS])
def test_it_names_the_layers_of_its_network_with_their_shapes(
    architecture: Architecture, size: tuple[int, int]
) -> None:
    network = allocate(3, size, architecture=architecture)
    images = torch.zeros(2, 1, *size)
    *layers, head = layer_features(network, images, batch=2)
    declared = architecture.layers(size)
    assert [tuple(f.shape[1:]) for f in layers] == [layer.shape for layer in declared]
    assert [layer.name for layer in declared] == list(architecture.layer_names)
    assert head.shape == (2, 3)
    assert layer_names(network) == (*architecture.layer_names, "head")


def test_the_reference_is_absent_from_keys_and_another_is_not() -> None:
    assert ThreeBlocks().content() == {}
    course = REFERENCE_COURSES[0]
    other = dataclasses.replace(course, architecture=NARROW)
    assert dataclasses.replace(course, architecture=ThreeBlocks()).key == course.key != other.key
    assert other.seed_for("order", 1) == course.seed_for("order", 1)
    assert other.seed_for("dropout", 1) != course.seed_for("dropout", 1)


@pytest.mark.parametrize("wrong", [{"filters": (32, 64)}, {"filters": (0, 1, 2)}, {"dense": 0}])
def test_it_refuses_what_cannot_be_built(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ThreeBlocks(**wrong)


def test_images_too_small_for_it_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 7\), but both sides must be >= 8"):
        Network(3, (16, 7), architecture=NARROW)


def test_a_record_is_checked_without_the_memory_that_it_asks_for() -> None:
    huge = recorded(ThreeBlocks(dense=2**40), 3, (16, 16), 0.5)
    assert any("layers.3.linear.weight is missing" in line for line in misfits("file", {}, huge))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_chosen_by_name_is_built_and_recorded(name: str) -> None:
    chosen = Hyperparameters.from_flat({"network.name": name})
    architecture = chosen.network.architecture
    assert (type(architecture), architecture.name) == (ARCHITECTURES[name], name)
    record = recorded(architecture, 3, (32, 32), 0.25)
    assert isinstance(record, type(architecture))
    assert record.model_dump().items() >= architecture.model_dump().items()
    assert chosen == Hyperparameters.from_flat(chosen.to_flat())
    with pytest.raises(ValidationError, match=r"image_size is \(1, 32\), but both sides"):
        recorded(architecture, 3, (1, 32), 0.25)


def test_the_reference_network_is_in_no_configuration_and_another_name_is_refused() -> None:
    assert not [name for name in Hyperparameters().to_flat() if name.startswith("network")]
    with pytest.raises(ValidationError, match="'three blocks'"):
        Hyperparameters.from_flat({"network.name": "four blocks"})
