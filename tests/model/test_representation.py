"""Linear CKA's defining properties, both ways of computing it, and what a layer's features are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from shiftsearch.model.network import Network, allocate, initialise
from shiftsearch.model.representation import (
    _alignment_of_features,
    _alignment_of_images,
    _centred,
    layer_features,
    layer_names,
    linear_cka,
    relative_change,
)

pytestmark = pytest.mark.unit


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network() -> Network:
    network = allocate(3, (16, 17), dropout=0.5)
    initialise(network, torch.Generator().manual_seed(0))
    with torch.no_grad():  # statistics that evaluation mode alone uses
        for layer in list(network.layers)[:3]:
            layer.normalisation.running_mean += 0.05
    return network


def test_features_align_with_themselves_exactly() -> None:
    x = normal(60, 200)
    assert linear_cka(x, x.clone()) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x @ torch.linalg.qr(normal(40, 40, seed=9))[0],
        lambda x: x * 1e-25,
        lambda x: x * -3e25,
        lambda x: x + 100 * normal(40, seed=9),
    ],
    ids=["rotated", "shrunk", "mirrored and enlarged", "moved"],
)
def test_alignment_ignores_rotation_scale_and_place(change: Callable[[Tensor], Tensor]) -> None:
    x, y = normal(50, 40), normal(50, 40) + normal(50, 40, seed=1)
    plain = linear_cka(x, y)
    assert plain is not None
    assert 0.5 < plain < 0.9
    assert linear_cka(change(x), y) == pytest.approx(plain, abs=1e-4)
    assert linear_cka(y, change(x)) == pytest.approx(plain, abs=1e-4)


def test_alignment_sees_the_stretching_of_one_feature() -> None:
    x = normal(50, 40)
    stretched = x.clone()
    stretched[:, 0] *= 20
    assert linear_cka(x, stretched) < 0.5


def test_independent_features_align_as_chance_says() -> None:
    """For n images of p and q independent normal features, sqrt(p q / ((p + n) (q + n)))."""
    x, y = normal(400, 100), normal(400, 50, seed=1)
    expected = (100 * 50 / (500 * 450)) ** 0.5
    assert linear_cka(x, y) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("images", "p", "q"), [(30, 50, 70), (70, 50, 6)])
def test_both_forms_agree(images: int, p: int, q: int) -> None:
    y = normal(images, q, seed=1)
    x = torch.cat([y, normal(images, p - 6)], dim=1)
    a, b = _centred(x), _centred(y)
    assert a is not None
    assert b is not None
    features, gram = _alignment_of_features(a, b), _alignment_of_images(a, b)
    assert gram == pytest.approx(features, abs=1e-6)
    assert linear_cka(x, y) in (features, gram)
    assert gram == pytest.approx(in_words(x, y), abs=1e-6)


def in_words(x: Tensor, y: Tensor) -> float:
    """HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)) with the centring matrix written out."""
    n = len(x)
    centring = torch.eye(n, dtype=torch.float64) - 1 / n
    k, m = (centring @ f.double() @ f.double().T @ centring for f in (x, y))
    return float(torch.trace(k @ m) / (torch.trace(k @ k) * torch.trace(m @ m)).sqrt())


def test_features_too_far_apart_to_tell_align_with_nothing() -> None:
    x = torch.tensor([[3e38], [-3e38], [-3e38]])  # the first is 4e38 from the mean
    assert linear_cka(x, normal(3, 8)) is None


@pytest.mark.parametrize("value", [0.1, 0.0, float("nan"), float("inf")])
def test_features_that_tell_images_apart_by_nothing_align_with_nothing(value: float) -> None:
    constant = torch.full((5, 8), value)
    assert linear_cka(constant, normal(5, 8)) is None
    assert linear_cka(normal(5, 8), constant) is None


def test_layers_yield_what_the_network_computes(network: Network) -> None:
    images = (normal(7, 1, 16, 17).sigmoid() * 255).to(torch.uint8)
    network.train()  # with dropout and batch statistics, unless the features ask otherwise
    found = dict(zip(layer_names(network), layer_features(network, images, batch=3), strict=True))
    floats = images.float() / 255
    assert [tuple(f.shape[1:]) for f in found.values()] == [
        (32, 8, 8),
        (64, 4, 4),
        (128, 2, 2),
        (512,),
        (3,),
    ]
    with torch.inference_mode():
        for count, features in enumerate(list(found.values())[:4], start=1):
            torch.testing.assert_close(features, network.begin(floats, count))
        torch.testing.assert_close(found["head"], network(floats))
    assert {f.dtype for f in found.values()} == {torch.float32}


def test_change_is_relative_to_the_length_of_all_tensors_together() -> None:
    before = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    after = [torch.tensor([3.0, 2.0]), torch.tensor([[4.0]])]
    assert relative_change(before, after) == pytest.approx(2 / 5)
    assert relative_change(before, before) == 0
    assert relative_change([torch.zeros(2)], [torch.ones(2)]) is None
    assert relative_change([], []) is None
