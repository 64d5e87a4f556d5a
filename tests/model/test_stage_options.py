"""Each option of a stage changes its numbers, and an interrupted stage ends with the same bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import shiftsearch.model.prefix
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.hyperparameters import (
    FineTuneHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.prefix import FrozenPrefix
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.protocol import build
from shiftsearch.model.recipe import Recipe
from shiftsearch.model.stage import StageResult
from shiftsearch.model.statistics import re_estimate
from shiftsearch.model.store import open_store
from shiftsearch.model.training import run_stage

pytestmark = pytest.mark.unit

# Without dropout, whose draws are other ones with every option.
FINE_TUNE = FineTuneHyperparameters(
    batch_size=16, learning_rate=1e-3, frozen_layers=3, dropout=0.0
)
COURSE = Course(
    "fine_tune", FINE_TUNE, Schedule(max_epochs=4, patience=4), "a", "b", 3, (16, 16), 5, 0
)
OPTIONS: list[dict[str, Any]] = [
    {"learning_rate_schedule": "cosine"},
    {"warm_up_epochs": 2},
    {"freeze_from": "head"},
    {"unfreezing": "gradual", "frozen_layers": 4},
    {"unfreezing": "linear probe", "probe_epochs": 2},
    {"layer_decay": 0.5},
    {"l2_sp": 100.0},
    {"ema_decay": 0.9},
    {"batch_norm": "adapted"},
    {"batch_norm": "training"},
    {"batch_norm": "adapted", "unfreezing": "gradual", "l2_sp": 10.0, "ema_decay": 0.9},
    {"batch_norm": "training", "freeze_from": "head", "ema_decay": 0.9},
    {"swa_from": 0.5},
    {"swa_from": 0.0, "batch_norm": "training"},
    {"swa_from": 0.25, "unfreezing": "gradual", "frozen_layers": 4, "l2_sp": 10.0},
    {"balance": "sampling"},
    {"balance": "weights"},
    {"balance": "weights", "augmentation": {"mixup": 0.4}},
    {"sample_weights": "file"},
    {"sample_weights": "file", "augmentation": {"mixup": 0.4}, "label_smoothing": 0.1},
    {"train_share": 0.5},
    {"train_share": 0.3, "balance": "sampling", "sample_weights": "density_ratio"},
    {"augmentation": {"erasing": 0.5}},
    {"augmentation": {"mixup": 0.4}},
    {"optimiser": "sgd", "learning_rate": 0.02},
    {"optimiser": "sgd", "momentum": 0.5, "unfreezing": "gradual", "l2_sp": 10.0},
]
Run = Callable[..., StageResult]


def course_with(**values: Any) -> Course:
    given = FineTuneHyperparameters.model_validate(FINE_TUNE.existing() | values)
    return dataclasses.replace(COURSE, hyperparameters=given)


@pytest.fixture
def start(small_data: ProtocolData, device: Device, tmp_path: Path) -> Mapping[str, Tensor]:
    """A baseline's weights, after one epoch."""
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
    """A fine-tune on 16, 10 and 4 images of the classes, in a store by name.

    With `sample_weights` they have weights, and with `train_share` the first 10 are TRAIN's.
    """
    train, validation = fine_tuned_on(small_data), small_data.selection

    def run(course: Course, store: str, place: Device = device, **given: Any) -> StageResult:
        into, values, used = open_store(tmp_path / store), course.hyperparameters, train
        if values.sample_weights != "none":
            used = dataclasses.replace(used, weights=torch.linspace(0, 3, len(used.labels)))
        if isinstance(values, FineTuneHyperparameters) and values.train_share:
            used = dataclasses.replace(used, from_train=10)
        return run_stage(course, used, validation, into, place, start=start, **given)

    return run


def fine_tuned_on(data: ProtocolData) -> TensorSplit:
    """16, 10 and 4 images of the classes."""
    first, second, third = ((data.test.labels == c).nonzero().flatten() for c in range(3))
    chosen = torch.cat([first, first[:6], second, third[:4]])
    return TensorSplit(data.test.images[chosen], data.test.labels[chosen], "a")


def numbers(result: StageResult) -> Any:
    """All numbers of a stage, bit for bit, without times."""
    times = ("seconds", "images_per_second")
    rows = [{k: v for k, v in row.items() if k not in times} for row in result.history]
    return rows, {name: tensor.contiguous().numpy().tobytes() for name, tensor in
                  result.weights.items()}, result.best_epoch  # fmt: skip


def test_l2_sp_holds_the_trained_weights_near_the_baseline_s(
    run: Run, start: Mapping[str, Tensor]
) -> None:
    """The more it decays, the nearer; from 1 / learning rate on, all the way before each step."""

    def distance(l2_sp: float) -> float:
        weights = run(course_with(l2_sp=l2_sp), f"{l2_sp}").weights
        return float((weights["head.weight"] - start["head.weight"]).abs().max())

    free, near, held = (distance(l2_sp) for l2_sp in (0.0, 300.0, 1000.0))
    assert 0 < held < near < free
    assert held < 4e-3  # a step of AdamW at rate 1e-3 is at most about three times as large


@pytest.mark.parametrize("decay", [0.1, 0.25])
def test_the_average_of_the_weights_is_validated_and_kept(
    run: Run,
    start: Mapping[str, Tensor],
    small_data: ProtocolData,
    device: Device,
    tmp_path: Path,
    decay: float,
) -> None:
    """With one step in each epoch, so that the state after each step is stored."""
    course = course_with(ema_decay=decay, batch_size=30)
    average, best = {name: tensor.double() for name, tensor in start.items()}, []
    data = small_data.selection
    for step, used in enumerate((min(decay, 2 / 11), min(decay, 3 / 12), decay), start=1):
        result = run(course, "averaged", until=step)
        entry = open_store(tmp_path / "averaged").load(course.key, "state")
        assert entry is not None
        for name, before in average.items():
            trained = entry.tensors[f"network.{name}"].double()
            average[name] = used * before + (1 - used) * trained
        kept = {name: entry.tensors[f"average.{name}"] for name in average}
        for name, tensor in kept.items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor.double(), average[name], rtol=1e-5, atol=1e-7)
        if result.best_epoch == step:
            assert all(torch.equal(kept[name], result.weights[name]) for name in kept)
        found = evaluate(build(kept, 3, (16, 16), device), data.images, data.labels)
        assert found.loss == pytest.approx(result.history[-1]["validation_loss"], rel=1e-5)
        best.append(result.best_epoch)
    assert best[0] == 1  # so that the comparison with the kept weights was made


def frozen_statistics(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The running means and variances of the three frozen blocks."""
    return {k: t for k, t in weights.items() if "running" in k}


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_adapted_statistics_are_those_of_the_baseline_s_weights_on_the_images(
    run: Run, start: Mapping[str, Tensor], small_data: ProtocolData, device: Device, decay: float
) -> None:
    """The baseline's own stay as they are: other fine-tunes start from the same."""
    given = {name: tensor.clone() for name, tensor in start.items()}
    result = run(course_with(batch_norm="adapted", ema_decay=decay), "adapted")
    adapted = build(start, 3, (16, 16), device)
    re_estimate(adapted, None, fine_tuned_on(small_data).images, device)
    found = frozen_statistics(adapted.state_dict())
    for name, tensor in frozen_statistics(result.weights).items():
        assert torch.equal(tensor, found[name])
        assert not torch.equal(tensor, start[name])
    assert all(torch.equal(t, start[name]) for name, t in given.items())
    assert all(
        torch.equal(t, start[name])
        for name, t in result.weights.items()
        if name.startswith(("layers.0", "layers.1", "layers.2")) and name.endswith("weight")
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_outputs_kept_after_adapting_are_the_slow_ones_to_the_bit(
    run: Run, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    course, place = course_with(batch_norm="adapted"), Device("cpu", dtype, 1, "test")
    fast = run(course, "fast", place=place)
    monkeypatch.setattr(shiftsearch.model.prefix, "MOST_BYTES", 0)
    assert numbers(fast) == numbers(run(course, "slow", place=place))


def test_statistics_of_frozen_layers_follow_the_batches(
    run: Run, start: Mapping[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step moves them by torch's momentum, 0.1, and no output is kept."""
    counts: list[int] = []
    original = FrozenPrefix._compute
    monkeypatch.setattr(
        FrozenPrefix,
        "_compute",
        lambda self, *given: counts.append(self.count) or original(self, *given),
    )
    result = run(course_with(batch_norm="training", batch_size=30), "training", until=1)
    assert set(counts) == {0}
    weights = result.weights
    for i in range(3):
        name = f"layers.{i}.normalisation."
        assert torch.equal(weights[f"layers.{i}.convolution.weight"],
                           start[f"layers.{i}.convolution.weight"])  # fmt: skip
        assert not torch.equal(weights[f"{name}running_mean"], start[f"{name}running_mean"])
        tracked = weights[f"{name}num_batches_tracked"] - start[f"{name}num_batches_tracked"]
        assert tracked == 1


@pytest.mark.parametrize(("swa_from", "first"), [(0.0, 1), (0.25, 2), (0.3, 3)])
def test_weights_at_the_end_of_epochs_are_averaged_validated_and_kept(
    run: Run, small_data: ProtocolData, device: Device, tmp_path: Path, swa_from: float, first: int
) -> None:
    """After three of four epochs, because the last leaves no state."""
    course = course_with(swa_from=swa_from, frozen_layers=1, learning_rate=1e-4)
    ends: list[Mapping[str, Tensor]] = []
    best: list[int] = []
    data, images = small_data.selection, fine_tuned_on(small_data).images
    for epoch in range(1, 4):
        result = run(course, "averaged", until=epoch)
        ends.append(in_training(tmp_path / "averaged", course))
        expected = ends[-1]
        if epoch >= first:
            averaged = ends[first - 1 :]
            expected = {
                k: torch.stack([end[k].double() for end in averaged]).mean(0).to(t.dtype)
                for k, t in ends[-1].items()
            }
        network = build(expected, 3, (16, 16), device)
        if epoch >= first:
            re_estimate(network, [False, True, True, True, True], images, device)
        found = evaluate(network, data.images, data.labels)
        assert found.loss == pytest.approx(result.history[-1]["validation_loss"], rel=1e-5)
        kept = result.weights if result.best_epoch == epoch else {}
        begun = in_training(tmp_path / "averaged", course, "average.") if epoch >= first else {}
        for name, tensor in network.state_dict().items():
            for found_there in (kept, begun):
                torch.testing.assert_close(
                    found_there.get(name, tensor), tensor, rtol=1e-4, atol=1e-6
                )
        best.append(result.best_epoch)
    assert best[0] == 1  # so that the comparison with the kept weights was made


@pytest.mark.parametrize("values", [{"train_share": 0.5}, {"balance": "sampling"}], ids=str)
def test_statistics_of_the_average_are_those_of_the_images_that_were_drawn(
    run: Run, small_data: ProtocolData, device: Device, values: dict[str, Any]
) -> None:
    """Not of the whole set: batches may hold few images of TRAIN, or of a large class."""
    course = course_with(swa_from=0.0, frozen_layers=0, **values)
    result = run(course, "drawn", until=1)
    train = fine_tuned_on(small_data)
    if "train_share" in values:
        train = dataclasses.replace(train, from_train=10)
    drawn = Recipe(course).order(train, 1)
    assert drawn.unique().numel() < 30 or len(drawn) != 30
    network = build(result.weights, 3, (16, 16), device)
    re_estimate(network, None, train.images[drawn], device)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(result.weights[name], tensor, rtol=1e-4, atol=1e-6)


def in_training(folder: Path, course: Course, group: str = "network.") -> dict[str, Tensor]:
    """The network in training after the last epoch of an unfinished stage, or its average."""
    entry = open_store(folder).load(course.key, "state")
    assert entry is not None
    given = {k: t for k, t in entry.tensors.items() if k.startswith(group)}
    return {name.removeprefix(group): tensor for name, tensor in given.items()}


def test_only_one_average_is_kept() -> None:
    with pytest.raises(ValidationError, match=r"swa_from exists only when ema_decay is 0\.0"):
        StageHyperparameters(ema_decay=0.9, swa_from=0.5)


@pytest.mark.parametrize("values", OPTIONS, ids=str)
def test_an_interrupted_stage_ends_with_the_same_bits(run: Run, values: dict[str, Any]) -> None:
    course = course_with(**values)
    straight = run(course, "straight")
    for until in (1, 2, 3):
        assert run(course, "again", until=until).epochs == until
    assert numbers(run(course, "again")) == numbers(straight)
    assert straight.epochs == 4


@pytest.mark.parametrize("values", OPTIONS, ids=str)
def test_an_option_changes_the_key_and_the_losses(run: Run, values: dict[str, Any]) -> None:
    course = course_with(**values)
    assert course.key != COURSE.key
    on, off = run(course, "on").history, run(COURSE, "off").history
    assert [row["validation_loss"] for row in on] != [row["validation_loss"] for row in off]


def test_statistics_adapt_to_test_alone_if_batches_are_filled_up_from_train(
    small_data: ProtocolData, device: Device, tmp_path: Path, start: Mapping[str, Tensor]
) -> None:
    course = course_with(batch_norm="adapted", train_share=0.5)
    train = dataclasses.replace(fine_tuned_on(small_data), from_train=16)
    place = open_store(tmp_path / "shared")
    result = run_stage(course, train, small_data.selection, place, device, start=start)
    adapted = build(start, 3, (16, 16), device)
    re_estimate(adapted, None, train.images[16:], device)
    found, expected = (frozen_statistics(s) for s in (result.weights, adapted.state_dict()))
    assert found.keys() == expected.keys()
    assert found
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name])
