"""Classes of different size count as much, by drawing or by weights."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from shiftsearch.model.balance import balanced_order, balanced_weights

pytestmark = pytest.mark.unit

LABELS = torch.tensor([0] * 7 + [2] * 2 + [3] * 2)  # none of class 1


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_as_many_images_of_each_class_are_drawn() -> None:
    order = balanced_order(LABELS, draws())
    assert Counter(LABELS[order].tolist()) == {0: 4, 2: 4, 3: 4}
    times = Counter(order.tolist())
    assert {times[i] for i in range(7, 11)} == {2}  # each image of a small class twice
    assert {times[i] for i in range(7)} == {0, 1}
    assert not torch.equal(order, balanced_order(LABELS, draws(1)))
    assert torch.equal(order, balanced_order(LABELS, draws()))


def test_the_order_is_mixed_and_of_balanced_classes_a_permutation() -> None:
    labels = torch.arange(60) // 20
    order = balanced_order(labels, draws())
    assert sorted(order.tolist()) == list(range(60))
    assert len(labels[order[:20]].unique()) == 3


def test_weights_make_classes_count_as_much() -> None:
    weights = balanced_weights(LABELS)
    assert weights.dtype == torch.float32
    expected = [11 / (3 * 7)] * 7 + [11 / (3 * 2)] * 4
    assert weights.tolist() == pytest.approx(expected)
    assert weights.mean() == pytest.approx(1)
