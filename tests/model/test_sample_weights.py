"""Weights of training images: where they come from, and what they do to the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.density_ratio import density_ratio
from shiftsearch.data.mixup import mixed
from shiftsearch.model.balance import balanced_weights
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.hyperparameters import (
    FineTuneHyperparameters,
    Hyperparameters,
    PreprocessingHyperparameters,
    Protocol,
    Schedule,
)
from shiftsearch.model.prepared import division_of, prepare
from shiftsearch.model.protocol import ProtocolRun
from shiftsearch.model.recipe import Recipe
from shiftsearch.model.store import Store

pytestmark = pytest.mark.unit

ONE_EPOCH = Protocol(baseline=Schedule(max_epochs=1), fine_tune=Schedule(max_epochs=1))
TEST = ("TEST",)
OWN = np.linspace(0, 3, 30)
"""Weights of the images of TEST."""


@pytest.fixture
def weighted(small_dataset: Dataset) -> Dataset:
    """The small dataset, with weights for TEST."""
    test = replace(small_dataset.splits["TEST"], weights=OWN)
    return Dataset(small_dataset.classes, {**small_dataset.splits, "TEST": test})


def recipe(**values: Any) -> Recipe:
    given = FineTuneHyperparameters.model_validate(values)
    return Recipe(Course("fine_tune", given, Schedule(), "a", "b", 3, (16, 16), 5, 0))


def test_weights_of_files(weighted: Dataset, device: Device) -> None:
    data = prepare(weighted, Protocol(), device)
    assert data.training_set(TEST).weights is None
    found = data.training_set(TEST, "file").weights
    assert found is not None
    assert found.tolist() == pytest.approx((OWN / OWN.mean()).tolist())
    both = data.training_set(("TRAIN", "TEST"), "file").weights
    assert both is not None
    assert both[:41].tolist() == [1.0] * 41
    assert torch.allclose(both[41:], found)
    with pytest.raises(ValueError, match=r"weights\.csv"):
        data.training_set(("TRAIN",), "file")


def test_density_ratios_see_the_selection_part_alone_and_no_label(
    small_dataset: Dataset, device: Device
) -> None:
    protocol = Protocol()
    division = division_of(small_dataset, protocol)
    test, test2 = (small_dataset.splits[name] for name in ("TEST", "TEST2"))
    data = prepare(small_dataset, protocol, device)
    found = data.training_set(TEST, "density_ratio").weights
    assert found is not None
    expected = density_ratio(test.images, test2.images[division.selection])
    assert found.tolist() == pytest.approx(expected.tolist())
    assert len(set(expected.tolist())) > 1
    stretched = data.preprocessed(PreprocessingHyperparameters(intensity="stretch"))
    other = stretched.training_set(TEST, "density_ratio").weights
    assert other is not None
    assert not torch.allclose(other, found)


@pytest.mark.parametrize("source", ["file", "density_ratio"])
def test_the_source_changes_the_stage_and_its_key(
    weighted: Dataset, device: Device, store: Store, source: str
) -> None:
    def fine_tuned(dataset: Dataset, values: dict[str, Any]) -> Any:
        data = prepare(dataset, ONE_EPOCH, device)
        run = ProtocolRun(
            Hyperparameters.from_flat(values), data, ONE_EPOCH, store, device, seed=0
        )
        return run.fine_tune(run.baseline())

    plain = fine_tuned(weighted, {})
    changed = fine_tuned(weighted, {"fine_tune.sample_weights": source})
    assert plain.course != changed.course
    assert plain.history[0]["train_loss"] != changed.history[0]["train_loss"]
    other = replace(weighted.splits["TEST"], weights=OWN[::-1].copy())
    reweighted = Dataset(weighted.classes, {**weighted.splits, "TEST": other})
    again = fine_tuned(reweighted, {"fine_tune.sample_weights": source})
    assert again.course != changed.course


def test_a_baseline_by_density_ratio_depends_on_the_selection_part(
    small_dataset: Dataset, device: Device, store: Store
) -> None:
    test2 = small_dataset.splits["TEST2"]
    darker = replace(test2, images=test2.images // 2)
    other = Dataset(small_dataset.classes, {**small_dataset.splits, "TEST2": darker})
    for source, differs in (("none", False), ("density_ratio", True)):
        values = Hyperparameters.from_flat({"baseline.sample_weights": source})
        first, second = (
            ProtocolRun(values, prepare(d, ONE_EPOCH, device), ONE_EPOCH, store, device, seed=0)
            .baseline()
            .course
            for d in (small_dataset, other)
        )
        assert (first != second) == differs


def test_with_balance_each_class_has_the_same_sum() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 2)
    own = torch.tensor([1.0, 2, 3, 0, 1, 1, 5, 1, 2, 0, 0])
    data = TensorSplit(torch.empty(0), labels, "", own)
    plain = recipe().weights(data)
    assert plain is not None
    assert plain.tolist() == pytest.approx((own / own.mean()).tolist())
    found = recipe(balance="weights").weights(data)
    assert found is not None
    assert labels.bincount(found).tolist() == pytest.approx([5.5, 5.5, 0])  # 2 does not count
    assert (found[1] / found[0]).item() == pytest.approx(2)
    assert found.mean() == pytest.approx(1)
    ones = torch.ones(len(labels))
    assert torch.allclose(balanced_weights(labels, ones), balanced_weights(labels))
    assert recipe().weights(replace(data, weights=None)) is None


def test_an_image_of_weight_0_has_no_part_in_the_loss() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels, weights = torch.tensor([0, 1, 2, 0]), torch.tensor([0.0, 2.0, 1.0, 0.0])
    made = recipe(label_smoothing=0.1)
    loss = made.loss(logits, labels, weights)
    each = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    assert loss.item() == pytest.approx(((2 * each[1] + each[2]) / 3).item())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[[0, 3]].abs().max() == 0
    assert made.loss(logits, labels, torch.zeros(4)).item() == 0


def test_blended_images_of_weight_0_have_no_part_either() -> None:
    images = torch.rand(6, 1, 16, 16)
    labels, weights = torch.arange(6) % 3, torch.zeros(6)
    _, targets, found = mixed(images, labels, weights, 3, 0.4, torch.Generator().manual_seed(0))
    assert found is not None
    assert found.tolist() == [0.0] * 6
    assert torch.isfinite(targets).all()
