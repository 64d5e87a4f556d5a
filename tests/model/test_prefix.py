"""Kept outputs of frozen layers change the time of a stage, never a bit of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import shiftsearch.model.prefix
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.freezing import freeze
from shiftsearch.model.hyperparameters import (
    Augmentation,
    FineTuneHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.network import allocate, initialise
from shiftsearch.model.prefix import FrozenPrefix
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import open_store
from shiftsearch.model.training import run_stage

pytestmark = pytest.mark.unit

TIMES = ("seconds", "images_per_second")
ROTATED = Augmentation(rotation=10.0)
Run = Callable[..., StageResult]


@pytest.fixture
def start(small_data: ProtocolData, device: Device, tmp_path: Path) -> dict[str, Tensor]:
    """A baseline's weights, after one epoch."""
    course = Course(
        "baseline", StageHyperparameters(batch_size=16), Schedule(max_epochs=1), "", "", 3,
        (16, 16), seed=5, replicate=0,
    )  # fmt: skip
    data = small_data
    return dict(
        run_stage(course, data.train, data.test, open_store(tmp_path / "0"), device).weights
    )


@pytest.fixture
def run(small_data: ProtocolData, device: Device, tmp_path: Path, start: dict[str, Tensor]) -> Run:
    """A fine-tune of the small dataset, by default in a store of its own."""
    stores = iter(range(1, 100))

    def run(
        frozen: int,
        *,
        batch_size: int = 16,
        augmentation: Augmentation | None = None,
        train: TensorSplit = small_data.test,
        place: Device = device,
        **changes: Any,
    ) -> StageResult:
        values = FineTuneHyperparameters(
            batch_size=batch_size,
            learning_rate=1e-3,
            frozen_layers=frozen,
            augmentation=augmentation or Augmentation(),
        )
        course = Course(
            "fine_tune", values, Schedule(max_epochs=3), "", "", 3, (16, 16), 5, 0, ("parent",)
        )
        store = changes.pop("store", None) or open_store(tmp_path / str(next(stores)))
        return run_stage(course, train, small_data.selection, store, place, start=start, **changes)

    return run


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Images and batch size of each split whose outputs are kept from now on."""
    seen: list[tuple[int, int]] = []
    original = FrozenPrefix._compute

    def compute(self: FrozenPrefix, images: Tensor, batch_size: int) -> Tensor | None:
        found = original(self, images, batch_size)
        if found is not None:
            seen.append((len(images), batch_size))
        return found

    monkeypatch.setattr(FrozenPrefix, "_compute", compute)
    return seen


def keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shiftsearch.model.prefix, "MOST_BYTES", 0)


def everything(result: StageResult) -> Any:
    """All numbers of a stage, bit for bit, without times."""
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in result.history]
    weights = {name: t.contiguous().numpy().tobytes() for name, t in result.weights.items()}
    return rows, weights, result.best_epoch


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("frozen", range(5))
def test_a_stage_with_kept_outputs_is_the_slow_one_to_the_bit(
    run: Run,
    kept: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    frozen: int,
    threads: int,
    dtype: str,
) -> None:
    """30 images in batches of 16: the second is smaller, and holds other images every epoch.

    Not after the dense layer, where the batch's size may decide how a product is rounded.
    """
    place = Device("cpu", dtype, threads, "test")  # on one thread: two only unfuse the blocks
    size = 15 if frozen == 4 else 16
    fast = run(frozen, batch_size=size, place=place)
    assert kept == ([(30, size), (15, 512)] if frozen else [])
    keep_nothing(monkeypatch)
    slow = run(frozen, batch_size=size, place=place)
    assert len(kept) == 2 * bool(frozen)
    assert everything(fast) == everything(slow)


def test_a_smaller_last_batch_after_the_dense_layer_differs_by_rounding_at_most(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = run(4)
    keep_nothing(monkeypatch)
    slow = run(4)
    assert fast.best_epoch == slow.best_epoch
    for name, tensor in fast.weights.items():
        torch.testing.assert_close(tensor, slow.weights[name], rtol=1e-3, atol=1e-5)


def test_a_last_batch_of_one_image_is_left_out_either_way(
    run: Run, small_data: ProtocolData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image is in whole batches in other epochs, where float32 kernels round otherwise."""
    whole = small_data.test
    train = dataclasses.replace(whole, images=whole.images[:25], labels=whole.labels[:25])
    fast = run(2, batch_size=8, train=train)
    keep_nothing(monkeypatch)
    assert everything(fast) == everything(run(2, batch_size=8, train=train))


def test_with_augmentation_only_validation_is_kept(
    run: Run, kept: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = run(3, augmentation=ROTATED)
    assert kept == [(15, 512)]
    keep_nothing(monkeypatch)
    assert everything(fast) == everything(run(3, augmentation=ROTATED))
    assert everything(fast) != everything(run(3))


def test_a_split_too_large_is_not_kept(
    run: Run, kept: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two blocks an image of 16x16 is 64 channels of 4x4 in float32: 4,096 bytes."""
    monkeypatch.setattr(shiftsearch.model.prefix, "MOST_BYTES", 30 * 4096)
    run(2)
    assert kept == [(30, 16), (15, 512)]
    kept.clear()
    monkeypatch.setattr(shiftsearch.model.prefix, "MOST_BYTES", 30 * 4096 - 1)
    run(2)
    assert kept == [(15, 512)]


@pytest.mark.parametrize("frozen", [0, 2, 4])
def test_a_resumed_stage_agrees_with_an_undisturbed_one(
    run: Run, tmp_path: Path, kept: list[tuple[int, int]], frozen: int
) -> None:
    undisturbed = run(frozen)
    kept.clear()
    store = open_store(tmp_path / "resumed")
    assert run(frozen, store=store, until=1).epochs == 1
    resumed = run(frozen, store=store)
    assert len(kept) == 4 * bool(frozen)
    assert everything(resumed) == everything(undisturbed)


def test_outputs_are_computed_once_and_those_of_the_layers(
    small_data: ProtocolData, device: Device, kept: list[tuple[int, int]]
) -> None:
    network = allocate(3, (16, 16))
    initialise(network, torch.Generator().manual_seed(0))
    freeze(network.train(), [True] * 4 + [False])
    images = small_data.test.images
    for count, shape in ((1, (32, 8, 8)), (3, (128, 2, 2)), (4, (512,))):
        prefix = FrozenPrefix(network, count, device)
        kept.clear()
        first, again = prefix.outputs(images, 7), prefix.outputs(images, 7)
        assert kept == [(30, 7)]
        assert first is not None
        assert again is not None
        some = torch.tensor([29, 3, 3, 0])
        with torch.no_grad():
            expected = network.begin(images[some].float() / 255, count)
        assert first[some].shape == (4, *shape)
        torch.testing.assert_close(first[some], expected, check_stride=False)
        assert again[slice(28, 40)].equal(first[torch.tensor([28, 29])])


def test_a_split_may_be_trained_and_validated_on(
    run: Run, small_data: ProtocolData, kept: list[tuple[int, int]]
) -> None:
    """Both ask for the same outputs; kept in inference mode they would not serve training."""
    result = run(1, batch_size=512, train=small_data.selection)
    assert kept == [(15, 512)]
    assert result.epochs == 3
