"""One stage: a pure function of its course, whatever interrupts it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import shiftsearch.model.recipe
import shiftsearch.model.stage
import shiftsearch.model.training
from shiftsearch.model.architecture import ThreeBlocks
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import (
    ComputedEpoch,
    EpochRequest,
    EpochRow,
    TensorSplit,
    TrialDiverged,
)
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.hyperparameters import (
    Augmentation,
    FineTuneHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.network import Network, initialise
from shiftsearch.model.protocol import ProtocolData, build
from shiftsearch.model.stage import StageResult
from shiftsearch.model.stopping import Decisions
from shiftsearch.model.store import FileStore, Store, open_store
from shiftsearch.model.training import run_stage

pytestmark = pytest.mark.unit

ALL_ON = Augmentation(
    rotation=10.0, scale=0.1, translation=1.0, noise=0.02, brightness=0.1, contrast=0.1
)
BASELINE = StageHyperparameters(batch_size=16, augmentation=ALL_ON)
FINE_TUNE = FineTuneHyperparameters(
    batch_size=16, learning_rate=1e-3, augmentation=ALL_ON, frozen_layers=2
)
SCHEDULE = Schedule(max_epochs=4, patience=2, reduce_after=1)
TIMES = ("seconds", "images_per_second")


@pytest.fixture
def course(small_data: ProtocolData) -> Course:
    train, test = small_data.train.digest, small_data.test.digest
    return Course("baseline", BASELINE, SCHEDULE, train, test, 3, (16, 16), seed=5, replicate=0)


def replace(course: Course, **changes: Any) -> Course:
    return dataclasses.replace(course, **changes)


def with_values(course: Course, **values: Any) -> Course:
    return replace(course, hyperparameters=course.hyperparameters.model_copy(update=values))


Run = Callable[..., StageResult]


@pytest.fixture
def run(small_data: ProtocolData, device: Device, store: Store) -> Run:
    """`run_stage` on the small dataset; keyword arguments replace its own."""

    def run(course: Course, **changes: Any) -> StageResult:
        arguments = {
            "train": small_data.train,
            "validation": small_data.test,
            "store": store,
            "device": device,
        }
        return run_stage(course, **arguments | changes)

    return run


def bits(weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in weights.items()}


def numbers(result: StageResult) -> Any:
    """All of a result that two runs share: everything but times."""
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in result.history]
    return result.key, result.best_epoch, rows, bits(result.weights)


def other_store(store: Store, name: str = "other") -> Store:
    return open_store(f"{store.address}-{name}")


@pytest.fixture
def start(course: Course, run: Run, store: Store) -> Mapping[str, Tensor]:
    """Weights of a baseline of one epoch."""
    return run(course, until=1, store=other_store(store, "start")).weights


def test_the_same_course_gives_the_same_bits(course: Course, run: Run, store: Store) -> None:
    first = run(course)
    assert numbers(run(course, store=other_store(store))) == numbers(first)
    assert len({row["train_loss"] for row in first.history}) == first.epochs > 1


def test_no_global_generator_is_read_or_moved(course: Course, run: Run, store: Store) -> None:
    def state() -> Any:
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = state()
    first = run(course)
    assert state() == before
    torch.manual_seed(99)
    assert numbers(run(course, store=other_store(store))) == numbers(first)


@pytest.fixture
def doubtful(small_data: ProtocolData) -> TensorSplit:
    """TEST with every fourth label wrong: its loss falls at first, then rises."""
    labels = small_data.test.labels.clone()
    labels[::4] = (labels[::4] + 1) % 3
    return TensorSplit(small_data.test.images, labels, "doubtful")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_best_weights_are_returned_in_both_dtypes(
    course: Course, run: Run, doubtful: TensorSplit, dtype: str
) -> None:
    device = Device("cpu", dtype, 1, "")
    course = replace(course, schedule=Schedule(max_epochs=9))
    result = run(with_values(course, batch_size=8), device=device, validation=doubtful)
    losses = [row["validation_loss"] for row in result.history]
    assert 1 < result.best_epoch == losses.index(min(losses)) + 1 < result.epochs
    assert result.environment["dtype"] == dtype
    network = build(result.weights, 3, (16, 16), device)
    evaluation = evaluate(network, doubtful.images, doubtful.labels)
    assert evaluation.loss == pytest.approx(min(losses), rel=1e-5 if dtype == "float32" else 0.05)
    assert {t.dtype for t in result.weights.values()} == {torch.float32, torch.int64}


def test_bfloat16_trains_like_float32(course: Course, run: Run, store: Store) -> None:
    course = with_values(replace(course, schedule=Schedule(max_epochs=4)), dropout=0.0)
    ends = [
        run(course, device=Device("cpu", dtype, 1, ""), store=other_store(store, dtype))
        for dtype in ("float32", "bfloat16")
    ]
    losses = [[row["train_loss"] for row in end.history] for end in ends]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert losses[0] != losses[1]
    assert losses[0][-1] < 0.7 * losses[0][0]


def test_the_history_follows_the_decisions(
    course: Course, run: Run, doubtful: TensorSplit
) -> None:
    course = replace(course, schedule=Schedule(max_epochs=9, patience=9, reduce_after=1))
    result = run(with_values(course, batch_size=8), validation=doubtful)
    decisions = Decisions(course.schedule, 1e-3)
    for number, row in enumerate(result.history, start=1):
        assert row["epoch"] == number
        assert row["learning_rate"] == decisions.learning_rate
        decisions.update(row["validation_loss"])
    assert decisions.finished
    assert decisions.learning_rate < 1e-3
    assert decisions.best_epoch == result.best_epoch


def plain_losses(course: Course, data: ProtocolData, rates: list[float]) -> list[float]:
    """Training losses of a plain loop: default layout, separate optimiser steps, no dropout."""
    hyperparameters = course.hyperparameters
    network = Network(course.classes, course.image_size, dropout=0)
    initialise(network, torch.Generator().manual_seed(course.seed_for("weights", 0)))
    optimiser = torch.optim.AdamW(
        network.parameters(), weight_decay=hyperparameters.weight_decay, foreach=False
    )
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=hyperparameters.label_smoothing)
    losses = []
    for epoch, rate in enumerate(rates, start=1):
        optimiser.param_groups[0]["lr"] = rate
        draws = torch.Generator().manual_seed(course.seed_for("order", epoch))
        total = 0.0
        for batch in torch.randperm(len(data.train.labels), generator=draws).split(16):
            optimiser.zero_grad()
            loss = criterion(network(data.train.images[batch] / 255), data.train.labels[batch])
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        losses.append(total / len(data.train.labels))
    return losses


@pytest.mark.parametrize("values", [{}, {"weight_decay": 5.0}, {"label_smoothing": 0.3}])
def test_training_is_that_of_a_plain_loop(
    course: Course, run: Run, small_data: ProtocolData, values: dict[str, float]
) -> None:
    """With a learning rate that falls after each epoch, as no label of the validation is right."""
    schedule = Schedule(max_epochs=4, reduce_after=1, reduce_factor=0.1)
    course = replace(course, schedule=schedule)
    course = with_values(course, dropout=0.0, augmentation=Augmentation(), **values)
    wrong = dataclasses.replace(small_data.test, labels=(small_data.test.labels + 1) % 3)
    history = run(course, validation=wrong).history
    rates = [row["learning_rate"] for row in history]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])
    expected = plain_losses(course, small_data, rates)
    assert [row["train_loss"] for row in history] == pytest.approx(expected, rel=1e-4)


def test_a_finished_stage_is_found_and_its_rows_replayed(
    course: Course, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, EpochRow]] = []
    first = run(course, on_epoch=lambda stage, row: seen.append((stage, dict(row))))
    assert seen == [("baseline", row) for row in first.history]
    monkeypatch.delattr(shiftsearch.model.training.NetworkEngine, "epoch")
    again: list[tuple[str, EpochRow]] = []
    found = run(course, on_epoch=lambda stage, row: again.append((stage, row)))
    assert again == seen
    assert found.history == first.history
    assert numbers(found) == numbers(first)
    assert found.environment == first.environment


@pytest.mark.parametrize("rungs", [[2], [1, 3], [3, 1]])
def test_rungs_continued_to_the_end_are_one_straight_run(
    course: Course, run: Run, store: Store, rungs: list[int]
) -> None:
    course = replace(course, schedule=Schedule(max_epochs=4))
    straight = run(course, store=other_store(store))
    at_rungs = [run(course, until=rung) for rung in rungs]
    assert [result.epochs for result in at_rungs] == rungs
    end = run(course)
    assert numbers(end) == numbers(straight)
    for rung, result in zip(rungs, at_rungs, strict=True):
        assert result.key == f"{course.key}-{rung:04d}"
        assert numbers(result)[2] == numbers(straight)[2][:rung]
        assert numbers(run(course, until=rung)) == numbers(result)
    names = {name for _, name in store.entries()}
    assert names == {"final", *(f"epochs-{rung:04d}" for rung in rungs)}


class Killed(BaseException):
    """Stands in for the end of the process."""


def kill_after_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def on_epoch(_: str, row: EpochRow) -> None:
        if row["epoch"] == number:
            raise Killed

    return {"on_epoch": on_epoch}


def kill_in_write(number: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Before the `number`-th file is published."""
    return _kill_in("save", number, False, monkeypatch)


def kill_after_write(number: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return _kill_in("save", number, True, monkeypatch)


def kill_before_delete(number: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return _kill_in("delete", number, False, monkeypatch)


def _kill_in(
    method: str, number: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    original, calls = getattr(FileStore, method), 0

    def dying(self: FileStore, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            raise Killed
        original(self, *args)
        if calls == number:
            raise Killed

    monkeypatch.setattr(FileStore, method, dying)
    return {}


@pytest.mark.parametrize(
    ("stage", "kill", "number"),
    [
        ("baseline", kill_after_epoch, 1),
        ("baseline", kill_after_epoch, 3),
        ("baseline", kill_in_write, 3),
        ("baseline", kill_after_write, 4),
        ("fine_tune", kill_after_epoch, 4),
        ("fine_tune", kill_in_write, 2),
        ("fine_tune", kill_in_write, 5),
        ("fine_tune", kill_after_write, 1),
        ("fine_tune", kill_after_write, 5),
        ("fine_tune", kill_before_delete, 1),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_interrupted_anywhere_it_ends_with_the_same_bits(
    course: Course,
    run: Run,
    store: Store,
    start: Mapping[str, Tensor],
    stage: str,
    kill: Callable[[int, pytest.MonkeyPatch], dict[str, Any]],
    number: int,
) -> None:
    course = replace(course, schedule=Schedule(max_epochs=4, reduce_after=1))
    given = {}
    if stage == "fine_tune":
        course = replace(course, stage=stage, hyperparameters=FINE_TUNE, parents=("a-0001",))
        given = {"start": start}
    undisturbed = run(course, store=other_store(store), **given)
    assert undisturbed.epochs == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shiftsearch.model.stage, "SAVE_EVERY", 0.0)
        with pytest.raises(Killed):
            run(course, **given, **kill(number, patch))
    epochs: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        original = shiftsearch.model.training.NetworkEngine.epoch

        def counted(self: Any, request: EpochRequest) -> ComputedEpoch:
            epochs.append(request.number)
            return original(self, request)

        patch.setattr(shiftsearch.model.training.NetworkEngine, "epoch", counted)
        resumed = run(course, **given)
    assert numbers(resumed) == numbers(undisturbed)
    assert list(store.entries()) == [(course.key, "final")]
    stored = {kill_after_epoch: number - 1, kill_in_write: number - 1, kill_after_write: number}
    assert epochs == list(range(min(stored.get(kill, 4), 4) + 1, 5))


def test_frozen_layers_leave_a_fine_tune_as_they_entered(
    course: Course, run: Run, start: Mapping[str, Tensor]
) -> None:
    course = replace(course, stage="fine_tune", hyperparameters=FINE_TUNE)
    before, after = bits(start), bits(run(course, start=start).weights)
    same = {name for name in before if before[name] == after[name]}
    assert same == {name for name in before if name.startswith(("layers.0.", "layers.1."))}


def spy_on_batches(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """All images that reach the augmentation, batch by batch."""
    batches: list[Tensor] = []
    original = shiftsearch.model.recipe.augment

    def spy(images: Tensor, strengths: Any, generator: torch.Generator) -> Tensor:
        batches.append(images.clone())
        return original(images, strengths, generator)

    monkeypatch.setattr(shiftsearch.model.recipe, "augment", spy)
    return batches


def test_the_order_of_images_is_common_to_all_configurations(
    course: Course, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = spy_on_batches(monkeypatch)
    orders = []
    for variant in (
        course,
        with_values(course, learning_rate=1e-4, dropout=0.1, batch_size=7),
        replace(course, parents=("a-0001",)),
        replace(course, replicate=1),
        replace(course, seed=6),
        replace(course, stage="fine_tune"),
    ):
        batches.clear()
        run(variant, until=1)
        orders.append(torch.cat(batches).numpy().tobytes())
    assert orders[0] == orders[1] == orders[2]
    assert len(set(orders)) == 4
    epochs = []
    for until in (1, 2):  # the second call goes on from the first
        batches.clear()
        run(with_values(course, dropout=0.2), until=until)
        epochs.append(torch.cat(batches))
    assert not torch.equal(*epochs)
    for epoch in epochs:  # every image once
        assert sorted(i.numpy().tobytes() for i in epoch) == sorted(
            i.numpy().tobytes() for i in epochs[0]
        )


def test_a_batch_of_one_image_is_left_out(
    course: Course, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = spy_on_batches(monkeypatch)
    run(with_values(course, batch_size=20), until=1)  # of 41 images
    assert [len(batch) for batch in batches] == [20, 20]
    batches.clear()
    run(with_values(course, batch_size=19), until=1)
    assert [len(batch) for batch in batches] == [19, 19, 3]


def test_initial_weights_are_common_to_all_configurations(course: Course, run: Run) -> None:
    course = with_values(course, learning_rate=1e-12)  # so that one epoch leaves them in place
    variants = (
        course,
        with_values(course, dropout=0.1, batch_size=7, augmentation=Augmentation()),
        replace(course, replicate=1),
        replace(course, seed=6),
    )
    first, same, *others = (run(v, until=1).weights["head.weight"] for v in variants)
    torch.testing.assert_close(first, same, rtol=0, atol=1e-9)
    assert all((first - other).abs().max() > 0.01 for other in others)


@pytest.mark.parametrize("purpose", ["dropout", "augmentation"])
def test_other_draws_are_a_configurations_own(course: Course, purpose: str) -> None:
    variants = [
        course,
        with_values(course, learning_rate=2e-3),
        with_values(course, augmentation=Augmentation()),
        replace(course, parents=("a-0001",)),
        replace(course, replicate=1),
        replace(course, seed=6),
        replace(course, stage="fine_tune"),
    ]
    seeds = [variant.seed_for(purpose, 1) for variant in variants]
    seeds += [course.seed_for(purpose, 2), course.seed_for("order", 1)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("which", ["dropout", "augmentation"])
def test_the_draws_reach_the_training(
    course: Course, run: Run, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Other seeds for `which` alone change the numbers, so the draws are used."""
    first = run(course, until=1)
    original = Course.seed_for

    def shifted(self: Course, purpose: str, epoch: int) -> int:
        return original(self, purpose, epoch) + (purpose == which)

    monkeypatch.setattr(Course, "seed_for", shifted)
    other = run(replace(course, schedule=Schedule(max_epochs=3)), until=1)
    assert other.history[0]["train_loss"] != first.history[0]["train_loss"]


def test_the_horizon_alone_does_not_change_an_epoch(course: Course, run: Run) -> None:
    """The twin of the test above: only the seeds made the difference there."""
    first = run(course, until=1)
    other = run(replace(course, schedule=Schedule(max_epochs=3)), until=1)
    assert first.key != other.key
    assert numbers(first)[1:] == numbers(other)[1:]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stage", {"stage": "fine_tune"}),
        ("hyperparameters", {"hyperparameters": BASELINE.model_copy(update={"dropout": 0.4})}),
        (
            "augmentation",
            {
                "hyperparameters": BASELINE.model_copy(
                    update={"augmentation": ALL_ON.model_copy(update={"noise": 0.03})}
                )
            },
        ),
        ("horizon", {"schedule": SCHEDULE.model_copy(update={"max_epochs": 5})}),
        ("patience", {"schedule": SCHEDULE.model_copy(update={"patience": 3})}),
        ("reduction", {"schedule": SCHEDULE.model_copy(update={"reduce_factor": 0.4})}),
        ("train", {"train": "0" * 32}),
        ("validation", {"validation": "0" * 32}),
        ("classes", {"classes": 4}),
        ("image_size", {"image_size": (16, 17)}),
        ("seed", {"seed": 6}),
        ("replicate", {"replicate": 1}),
        ("parents", {"parents": ("a-0001",)}),
        ("architecture", {"architecture": ThreeBlocks(dense=256)}),
        ("target", {"target": "0" * 32}),
    ],
)
def test_the_key_changes_with_whatever_changes_the_course(
    course: Course, name: str, change: dict[str, Any]
) -> None:
    assert replace(course, **change).key != course.key
    assert replace(course).key == course.key


def test_the_key_names_every_field(course: Course) -> None:
    """A field added to `Course` needs a case above."""
    assert {field.name for field in dataclasses.fields(Course)} == {
        *("stage", "hyperparameters", "schedule", "train", "validation", "classes"),
        *("image_size", "seed", "replicate", "parents", "architecture", "target"),
    }


def test_epochs_of_a_parent_are_part_of_a_childs_key(course: Course) -> None:
    one, eight = (replace(course, parents=(f"{course.key}-{n:04d}",)) for n in (1, 8))
    assert one.key != eight.key


def test_divergence_names_epoch_and_losses_and_stores_nothing(
    course: Course, run: Run, store: Store, small_data: ProtocolData
) -> None:
    course = replace(course, hyperparameters=BASELINE.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(TrialDiverged, match=r"baseline epoch 1: .* at learning rate 1e\+30"):
        run(course)
    course = replace(course, hyperparameters=BASELINE)
    images = small_data.train.images.float() / 255
    images[3, 0, 5, 5] = float("nan")
    with pytest.raises(TrialDiverged, match="training loss nan"):
        run(course, train=TensorSplit(images, small_data.train.labels, "x"))
    with pytest.raises(TrialDiverged, match="validation loss nan"):
        run(course, validation=TensorSplit(images, small_data.train.labels, "x"))
    assert not list(store.entries())


def test_a_late_divergence_leaves_the_finite_epochs(
    course: Course, run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shiftsearch.model.stage, "SAVE_EVERY", 0.0)
    original, calls = shiftsearch.model.recipe.augment, 0

    def broken(images: Tensor, *rest: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return original(images, *rest) * (float("nan") if calls > 6 else 1)

    monkeypatch.setattr(shiftsearch.model.recipe, "augment", broken)
    for epoch in (3, 3):  # three batches of an epoch; the second attempt begins at the third
        with pytest.raises(TrialDiverged, match=f"epoch {epoch}: training loss nan"):
            run(course)
    entry = store.load(course.key, "state")
    assert entry is not None
    assert entry.record["decisions"]["epochs"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in entry.tensors.values())
    assert store.load(course.key, "final") is None
