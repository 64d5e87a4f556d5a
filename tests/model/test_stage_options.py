"""Each option of a stage changes its numbers, and an interrupted stage ends with the same bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.hyperparameters import (
    FineTuneHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.protocol import build
from shiftsearch.model.stage import StageResult
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
    {"balance": "sampling"},
    {"balance": "weights"},
    {"balance": "weights", "augmentation": {"mixup": 0.4}},
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
    """A fine-tune on 16, 10 and 4 images of the classes, in a store by name."""
    data = small_data
    first, second, third = ((data.test.labels == c).nonzero().flatten() for c in range(3))
    chosen = torch.cat([first, first[:6], second, third[:4]])
    train = TensorSplit(data.test.images[chosen], data.test.labels[chosen], "a")

    def run(course: Course, store: str, **given: Any) -> StageResult:
        place = open_store(tmp_path / store)
        return run_stage(course, train, data.selection, place, device, start=start, **given)

    return run


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
