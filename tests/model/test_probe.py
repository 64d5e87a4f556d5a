"""The closed form of a linear probe, against least squares and leaving out done step by step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from shiftsearch.model.probe import STRENGTHS, linear_probe

pytestmark = pytest.mark.unit

CLASSES = 3


def drawn(count: int, seed: int, noise: float = 2.0) -> tuple[Tensor, Tensor]:
    """Features [count, 4, 5] around a centre of each class, far from 0; and their classes."""
    draws = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, 4, 5, generator=torch.Generator().manual_seed(99)) + 10
    labels = torch.arange(count) % CLASSES
    return centres[labels] + noise * torch.randn(count, 4, 5, generator=draws), labels


def fitted(x: Tensor, labels: Tensor, strength: float, z: Tensor) -> Tensor:
    """Values of the targets at z by ridge regression with an unregularised mean, in features."""
    x, z, y = x.flatten(1).double(), z.flatten(1).double(), F.one_hot(labels, CLASSES).double()
    centred = x - x.mean(0)
    product = centred.T @ centred + strength * torch.eye(x.shape[1], dtype=torch.float64)
    return (z - x.mean(0)) @ torch.linalg.solve(product, centred.T @ (y - y.mean(0))) + y.mean(0)


def by_hand(x: Tensor, labels: Tensor, z: Tensor) -> tuple[Tensor, float]:
    """The predictions with the strength of least error, each image left out in turn."""
    scale = ((x - x.mean(0)).flatten(1).double().square().sum() / len(x)).item()
    errors = []
    for strength in STRENGTHS:
        left_out = [fitted_without(x, labels, strength * scale, i) for i in range(len(x))]
        targets = F.one_hot(labels, CLASSES).double()
        errors.append((torch.cat(left_out) - targets).square().mean().item())
    best = STRENGTHS[errors.index(min(errors))]
    return fitted(x, labels, best * scale, z).argmax(1), best


def fitted_without(x: Tensor, labels: Tensor, strength: float, i: int) -> Tensor:
    kept = torch.arange(len(x)) != i
    return fitted(x[kept], labels[kept], strength, x[i : i + 1])


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_the_classifier_is_ridge_regression_of_the_best_strength(noise: float) -> None:
    (x, labels), (z, _) = drawn(15, 0, noise), drawn(50, 1, noise)
    expected, strength = by_hand(x, labels, z)
    assert STRENGTHS[0] < strength < STRENGTHS[-1]
    assert torch.equal(linear_probe(x, labels, z, CLASSES), expected)


def test_separate_classes_are_read() -> None:
    (x, labels), (z, truth) = drawn(60, 0, 0.5), drawn(90, 1, 0.5)
    assert (linear_probe(x, labels, z, CLASSES) == truth).float().mean() > 0.95


def test_features_that_say_nothing_give_the_most_frequent_class() -> None:
    labels = torch.tensor([2, 1, 2, 0])
    assert linear_probe(torch.ones(4, 2), labels, torch.rand(3, 2), CLASSES).tolist() == [2, 2, 2]


def test_any_scale_of_the_features_gives_the_same() -> None:
    (x, labels), (z, _) = drawn(30, 0), drawn(40, 1)
    expected = linear_probe(x, labels, z, CLASSES)
    assert torch.equal(linear_probe(1024 * x, labels, 1024 * z, CLASSES), expected)
