"""Batches with a fixed share of TRAIN."""

from __future__ import annotations

import pytest
import torch

from shiftsearch.model.batches import composed_order, from_train_per_batch
from shiftsearch.model.course import Course
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.hyperparameters import FineTuneHyperparameters, Hyperparameters, Schedule
from shiftsearch.model.recipe import Recipe

pytestmark = pytest.mark.unit

TRAIN, TEST = 40, 30


def split(test: int = TEST, train: int = TRAIN) -> TensorSplit:
    labels = torch.arange(train + test) % 3
    return TensorSplit(torch.empty(0), labels, "", from_train=train)


def recipe(**values: object) -> Recipe:
    given = FineTuneHyperparameters.model_validate(values)
    return Recipe(Course("fine_tune", given, Schedule(), "a", "b", 3, (16, 16), 5, 0))


@pytest.mark.parametrize(
    ("batch", "share", "expected"),
    [(64, 0.5, 32), (64, 0.3, 19), (64, 0.9, 58), (2, 0.9, 1), (2, 0.1, 0), (10, 0.25, 2)],
)
def test_the_share_is_rounded(batch: int, share: float, expected: int) -> None:
    assert from_train_per_batch(batch, share) == expected


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("test", [30, 31, 1, 7])
def test_every_batch_has_the_share_and_an_epoch_is_one_pass_over_test(
    share: float, test: int
) -> None:
    made = recipe(train_share=share, batch_size=16)
    order = made.order(split(test), 1)
    is_train = order < TRAIN
    assert sorted(order[~is_train].tolist()) == list(range(TRAIN, TRAIN + test))
    expected = from_train_per_batch(16, share)
    *whole, last = torch.split(is_train, 16)
    assert [int(batch.sum()) for batch in whole] == [expected] * len(whole)
    assert abs(last.float().mean() - expected / 16) <= 0.5 / len(last) + 1e-6
    times = torch.bincount(order[is_train], minlength=TRAIN)
    assert times.max() - times.min() <= 1  # an image comes again only after all others
    assert torch.equal(order, made.order(split(test), 1))
    assert len(order) == 1 or not torch.equal(order, made.order(split(test), 2))


def test_passes_over_train_are_drawn_as_often_as_needed() -> None:
    drawn = iter([torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0, 1])])
    order = composed_order(torch.tensor([5, 6, 7, 8, 9]), lambda: next(drawn), 4, 2)
    assert order.tolist() == [5, 6, 0, 1, 7, 8, 1, 0, 9, 0]
    train = torch.tensor([0, 1, 2])
    rounded = composed_order(torch.tensor([5, 6, 7, 8]), lambda: train, 5, 2)  # 2 / 3 of an image
    assert rounded.tolist() == [5, 6, 7, 0, 1, 8, 2]
    assert composed_order(torch.tensor([5, 6]), lambda: next(drawn), 2, 0).tolist() == [5, 6]


def test_both_parts_are_balanced() -> None:
    labels = torch.tensor([0] * 30 + [1] * 10 + [0] * 24 + [1] * 6)
    data = TensorSplit(torch.empty(0), labels, "", from_train=40)
    order = recipe(train_share=0.5, batch_size=16, balance="sampling").order(data, 1)
    for part in (order[order < 40], order[order >= 40]):
        counts = labels[part].bincount()
        assert abs(int(counts[0]) - int(counts[1])) <= 4
    weights = recipe(train_share=0.5, balance="weights").weights(data)
    assert weights is not None
    for part in (slice(40), slice(40, None)):
        sums = labels[part].bincount(weights[part])
        assert sums[0] == pytest.approx(float(sums[1]))
        assert weights[part].mean() == pytest.approx(1)


def test_train_and_test_together_have_no_share() -> None:
    with pytest.raises(ValueError, match="train_share exists only when train_on is 'TEST'"):
        Hyperparameters.from_flat(
            {"fine_tune.train_on": "TRAIN+TEST", "fine_tune.train_share": 0.5}
        )
