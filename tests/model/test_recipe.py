"""Training follows its recipe: rates, freezing and thawing, order, weights of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

import shiftsearch.model.stage
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.hyperparameters import (
    Augmentation,
    FineTuneHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.recipe import Recipe
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import open_store
from shiftsearch.model.training import run_stage
from shiftsearch.model.unfreezing import UNFREEZING, always_frozen

pytestmark = pytest.mark.unit

FINE_TUNE = FineTuneHyperparameters(batch_size=16, learning_rate=1e-3, weight_decay=0.1)
COURSE = Course(
    "fine_tune", FINE_TUNE, Schedule(max_epochs=4, patience=4), "a", "b", 3, (16, 16), 5, 0
)
HEAD = 4
Run = Callable[..., StageResult]


class Thawing(Recipe):
    """From the top, one more layer in each epoch: the head, the dense layer, block 3, block 2."""

    def rates(self, epoch: int, learning_rate: float) -> tuple[float, ...]:
        return tuple(learning_rate * (i > HEAD - epoch) for i in range(HEAD + 1))


class First(Recipe):
    """Surgical: the first block alone, whatever the fused kernels say to it."""

    def rates(self, epoch: int, learning_rate: float) -> tuple[float, ...]:
        return (learning_rate, 0.0, 0.0, 0.0, 0.0)


class Graded(Recipe):
    """A lower rate for each layer further from the head."""

    def rates(self, epoch: int, learning_rate: float) -> tuple[float, ...]:
        return tuple(learning_rate * 1e-6 ** (HEAD - i) for i in range(HEAD + 1))


class ZerosOnly(Recipe):
    """Only images of class 0 count."""

    def weights(self, train: TensorSplit) -> Tensor | None:
        return (train.labels == 0).float()


class Third(Recipe):
    """The first ten images."""

    def order(self, train: TensorSplit, epoch: int) -> Tensor:
        return torch.arange(10)


class WithoutDropout(Recipe):
    """No dropout, whatever the hyperparameters say."""

    def __init__(self, course: Course) -> None:
        super().__init__(course)
        self.dropout = 0.0


class Doubled(Recipe):
    """Images of an even place, twice each."""

    def order(self, train: TensorSplit, epoch: int) -> Tensor:
        return torch.arange(0, len(train.labels), 2).repeat(2)


@pytest.fixture
def start(small_data: ProtocolData, device: Device, tmp_path: Path) -> Mapping[str, Tensor]:
    course = Course(
        "baseline", StageHyperparameters(batch_size=16), Schedule(max_epochs=1), "", "", 3,
        (16, 16), 5, 0,
    )  # fmt: skip
    data = small_data
    return run_stage(course, data.train, data.test, open_store(tmp_path / "start"), device).weights


@pytest.fixture
def run(
    small_data: ProtocolData, device: Device, tmp_path: Path, start: Mapping[str, Tensor]
) -> Run:
    """A fine-tune with a recipe, in a store of its own unless one is given."""
    stores = iter(range(100))

    def run(
        recipe: Callable[[Course], Recipe], course: Course = COURSE, **given: Any
    ) -> StageResult:
        store = given.pop("store", None) or open_store(tmp_path / str(next(stores)))
        data, made = small_data, recipe(course)
        place = given.pop("place", device)
        return run_stage(
            course, data.test, data.selection, store, place, start=start, recipe=made, **given
        )

    return run


def bits(weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in weights.items()}


def layer_of(name: str) -> int:
    return HEAD if name.startswith("head") else int(name.split(".")[1])


def state_after(run: Run, recipe: Callable[[Course], Recipe], epochs: int, path: Path) -> Any:
    """The network's state after so many epochs, not that of the best one."""
    store = open_store(path)
    run(recipe, store=store, until=epochs)
    entry = store.load(COURSE.key, "state")
    assert entry is not None
    return {
        name.removeprefix("network."): tensor
        for name, tensor in entry.tensors.items()
        if name.startswith("network.")
    }


def test_the_reference_recipe_freezes_the_first_layers_in_every_epoch() -> None:
    recipe = Recipe(COURSE)
    assert recipe.rates(1, 0.1) == recipe.rates(4, 0.1) == (0, 0, 0.1, 0.1, 0.1)
    baseline = Course("baseline", StageHyperparameters(), Schedule(), "a", "b", 3, (16, 16), 5, 0)
    assert Recipe(baseline).rates(1, 0.1) == (0.1,) * 5


def test_a_policy_of_unfreezing_says_which_layers_are_frozen_in_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def downwards(values: FineTuneHyperparameters, layers: int, epoch: int) -> list[bool]:
        return [i < values.frozen_layers - epoch for i in range(layers)] + [False]

    monkeypatch.setitem(UNFREEZING, "downwards", downwards)  # type: ignore[arg-type]
    values = FINE_TUNE.model_copy(update={"unfreezing": "downwards", "frozen_layers": 3})
    recipe = Recipe(replace(COURSE, hyperparameters=values))
    assert [recipe.rates(epoch, 0.1).count(0) for epoch in (1, 2, 3, 4)] == [2, 1, 0, 0]
    assert recipe.course.key != COURSE.key
    assert always_frozen(values, HEAD, 2) == [True, False, False, False, False]
    assert always_frozen(FINE_TUNE, HEAD, 9) == [True, True, False, False, False]


def test_all_layers_are_frozen_where_the_network_has_not_so_many() -> None:
    values = FINE_TUNE.model_copy(update={"frozen_layers": 4})
    assert always_frozen(values, 2, 1) == [True, True, False]


@pytest.mark.parametrize("augmented", [False, True])
def test_layers_move_from_the_epoch_in_which_the_recipe_thaws_them(
    run: Run, start: Mapping[str, Tensor], tmp_path: Path, augmented: bool
) -> None:
    """Weights and statistics, with kept outputs of the frozen layers and without."""

    def recipe(course: Course) -> Recipe:
        made = Thawing(course)
        made.changes_images = augmented
        return made

    for epochs in (1, 2, 3):
        after = state_after(run, recipe, epochs, tmp_path / f"after {epochs}")
        moved = {layer_of(k) for k in after if not torch.equal(after[k], start[k])}
        assert moved == set(range(HEAD + 1 - epochs, HEAD + 1))


def test_a_thawed_layer_sees_what_it_would_have_seen_without_kept_outputs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whole batches; see `model.prefix` for a last one that is smaller."""
    course = replace(COURSE, hyperparameters=FINE_TUNE.model_copy(update={"batch_size": 15}))
    kept = run(Thawing, course)
    monkeypatch.setattr("shiftsearch.model.prefix.MOST_BYTES", 0)
    assert bits(run(Thawing, course).weights) == bits(kept.weights)


@pytest.mark.parametrize("recipe", [Thawing, First, Graded])
@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_taken_up_again_it_ends_with_the_same_bits(
    run: Run, tmp_path: Path, recipe: type[Recipe], stopped: int
) -> None:
    undisturbed = run(recipe)
    store = open_store(tmp_path / "again")
    assert run(recipe, store=store, until=stopped).epochs == stopped
    again = run(recipe, store=store)
    assert again.epochs == undisturbed.epochs == 4
    assert bits(again.weights) == bits(undisturbed.weights)
    losses = [[row["train_loss"] for row in r.history] for r in (again, undisturbed)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_layer_may_be_trained_below_frozen_ones(
    run: Run, start: Mapping[str, Tensor], threads: int
) -> None:
    after = run(First, place=Device("cpu", "float32", threads, "test")).weights
    assert {layer_of(k) for k in after if not torch.equal(after[k], start[k])} == {0}


def test_each_layer_moves_by_its_own_rate(run: Run, start: Mapping[str, Tensor]) -> None:
    after = run(Graded).weights
    names = ["layers.2.convolution.weight", "layers.3.linear.weight", "head.weight"]
    moved = [float((after[n] - start[n]).abs().max()) for n in names]
    assert 0 < moved[1] < 1e-4 * moved[2]
    assert moved[0] < 1e-4 * moved[2]


def test_weights_and_order_are_the_recipe_s(run: Run, small_data: ProtocolData) -> None:
    plain, zeros, doubled = (run(r, until=1).history[0] for r in (Recipe, ZerosOnly, Doubled))
    assert len({row["train_loss"] for row in (plain, zeros, doubled)}) == 3
    right = doubled["train_accuracy"] * 30
    assert right == pytest.approx(round(right))


@pytest.mark.parametrize(("recipe", "images"), [(Recipe, 30), (Doubled, 30), (Third, 10)])
def test_the_speed_counts_the_images_that_were_trained_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, recipe: type[Recipe], images: int
) -> None:
    """By a clock that goes on by one second at each look."""
    clock = SimpleNamespace(perf_counter=count().__next__)
    monkeypatch.setattr("shiftsearch.model.training.time", clock)
    assert run(recipe, until=1).history[0]["images_per_second"] == images


def test_dropout_is_the_recipe_s(run: Run) -> None:
    none = replace(COURSE, hyperparameters=FINE_TUNE.model_copy(update={"dropout": 0.0}))
    assert Recipe(COURSE).dropout == 0.5
    assert bits(run(WithoutDropout).weights) == bits(run(WithoutDropout, none).weights)
    assert bits(run(Recipe).weights) != bits(run(WithoutDropout).weights)


def test_the_loss_is_a_weighted_mean_with_smoothed_targets_or_probabilities() -> None:
    smooth = FineTuneHyperparameters(label_smoothing=0.2)
    recipe = Recipe(Course("fine_tune", smooth, Schedule(), "a", "b", 3, (16, 16), 5, 0))
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels, weights = torch.arange(6) % 3, torch.tensor([1.0, 0, 2, 0, 0, 1])
    each = F.cross_entropy(logits, labels, label_smoothing=0.2, reduction="none")
    assert recipe.loss(logits, labels, None) == pytest.approx(each.mean().item())
    expected = (each * weights).sum().item() / 4
    assert recipe.loss(logits, labels, weights) == pytest.approx(expected)
    soft = F.one_hot(labels, 3).float()
    assert recipe.loss(logits, soft, None) == pytest.approx(each.mean().item())


def test_augmentation_is_asked_for_only_where_it_changes_images() -> None:
    still = Recipe(COURSE)
    assert not still.changes_images
    assert not Augmentation(outside="border").is_on
    assert Augmentation(outside="border", scale=0.1).is_on
    values = FINE_TUNE.model_copy(update={"augmentation": Augmentation(noise=0.1)})
    noisy = Recipe(Course("fine_tune", values, Schedule(), "a", "b", 3, (16, 16), 5, 0))
    assert noisy.changes_images
    images, labels = torch.full((2, 1, 16, 16), 0.5), torch.tensor([0, 1])
    draws, weights = noisy.generator("augmentation", 1), torch.ones(2)
    changed, targets, weighted = noisy.augment(images, labels, weights, draws)
    assert not torch.equal(changed, images)
    assert targets is labels
    assert weighted is weights


def test_saved_in_every_epoch_a_thawing_stage_is_the_same(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(Thawing)
    monkeypatch.setattr(shiftsearch.model.stage, "SAVE_EVERY", 0.0)
    assert bits(run(Thawing).weights) == bits(plain.weights)
