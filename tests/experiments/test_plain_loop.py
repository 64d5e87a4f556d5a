"""The plain loop trains like our stage; otherwise the benchmark would compare different things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from shiftsearch.data.augmentation import warp
from shiftsearch.data.dataset import Split
from shiftsearch.experiments.benchmarks.plain_loop import (
    ImageSet,
    PlainNetwork,
    evaluate,
    random_affine,
    train_stage,
)
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.hyperparameters import (
    Augmentation,
    FineTuneHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.network import allocate, initialise
from shiftsearch.model.optimiser import AdamW
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import open_store
from shiftsearch.model.training import run_stage

pytestmark = pytest.mark.unit

CLASSES, SIZE = 3, (16, 16)
TRAIN, VALIDATION = 41, 30


@pytest.fixture
def device() -> Device:
    device = Device("cpu", "float32", 1, "tests")
    device.apply()
    return device


def noisy_bars(count: int, seed: int) -> Split:
    """Three classes of noise with a faint bar: learnt by heart, so validation gets worse again."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = rng.normal(128, 50, (count, *SIZE))
    for image, label in zip(images, labels, strict=True):
        image[4 * label + 2 : 4 * label + 5] += 25
    return Split(np.clip(images, 0, 255).astype(np.uint8), labels)


def ours(
    settings: StageHyperparameters,
    schedule: Schedule,
    start: dict[str, torch.Tensor],
    device: Device,
    folder: Path,
) -> StageResult:
    def tensors(split: Split) -> TensorSplit:
        images = torch.from_numpy(split.images).unsqueeze(1)
        return TensorSplit(images, torch.from_numpy(split.labels), split.digest())

    train, validation = tensors(noisy_bars(TRAIN, 0)), tensors(noisy_bars(VALIDATION, 1))
    name = "fine_tune" if isinstance(settings, FineTuneHyperparameters) else "baseline"
    course = Course(name, settings, schedule, train.digest, validation.digest, CLASSES, SIZE, 0, 0)
    return run_stage(course, train, validation, open_store(folder), device, start=start)


def plain_twin(start: dict[str, torch.Tensor]) -> PlainNetwork:
    """The plain network with our weights; its convolutions' biases, which we lack, stay at 0."""
    network = PlainNetwork(CLASSES, SIZE, dropout=0.0)
    weights = {
        name.replace(".convolution.", ".0.")
        .replace(".normalisation.", ".1.")
        .replace(".linear.", ".1."): tensor
        for name, tensor in start.items()
    }
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert missing == [f"layers.{i}.0.bias" for i in range(3)]
    assert not unexpected
    for block in list(network.layers)[:3]:
        torch.nn.init.zeros_(block[0].bias)
        block[0].bias.requires_grad_(False)
    return network


def our_start() -> dict[str, torch.Tensor]:
    network = allocate(CLASSES, SIZE)
    initialise(network, torch.Generator().manual_seed(0))
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("frozen", [None, 2], ids=["baseline", "fine-tune"])
@pytest.mark.slow(reason="the first optimiser of a process imports the compiler of torch, 1.4 s")
def test_same_losses_rates_and_end_as_our_stage(
    frozen: int | None, device: Device, tmp_path: Path
) -> None:
    # One batch an epoch and no dropout: nothing is left to chance but the order of a sum.
    common = {"batch_size": 64, "dropout": 0.0, "weight_decay": 0.01, "label_smoothing": 0.1}
    if frozen is None:
        settings = StageHyperparameters(learning_rate=3e-3, **common)
    else:
        settings = FineTuneHyperparameters(learning_rate=3e-3, frozen_layers=frozen, **common)
    schedule = Schedule(max_epochs=15, patience=3, reduce_after=2)
    start = our_start()

    expected = ours(settings, schedule, start, device, tmp_path)
    train, validation = ImageSet(noisy_bars(TRAIN, 0)), ImageSet(noisy_bars(VALIDATION, 1))
    network = plain_twin(start)
    found = train_stage(network, train, validation, settings, schedule)

    losses = [row["validation_loss"] for row in expected.history]
    rates = [row["learning_rate"] for row in expected.history]
    assert rates[-1] < rates[0], "no reduction happened: the test shows nothing"
    assert len(losses) < schedule.max_epochs, "the stage did not stop early"
    assert found.losses == pytest.approx(losses, rel=1e-3)
    assert found.learning_rates == pytest.approx(rates, rel=1e-9)
    assert found.best_epoch == expected.best_epoch
    head = network.state_dict()["head.weight"]
    torch.testing.assert_close(head, expected.weights["head.weight"], rtol=1e-2, atol=1e-4)


@pytest.mark.slow(reason="the first optimiser of a process imports the compiler of torch, 1.4 s")
def test_same_number_of_steps(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    def counted(optimiser: AdamW, learning_rate: float) -> None:
        step(optimiser, learning_rate)
        count()

    step = AdamW.step
    monkeypatch.setattr(AdamW, "step", counted)
    settings, schedule = StageHyperparameters(batch_size=16), Schedule(max_epochs=2)
    start = our_start()
    handle = register_optimizer_step_post_hook(count)
    try:
        ours(settings, schedule, start, device, tmp_path)
        own, steps = steps, 0
        train, validation = ImageSet(noisy_bars(TRAIN, 0)), ImageSet(noisy_bars(VALIDATION, 1))
        train_stage(plain_twin(start), train, validation, settings, schedule)
    finally:
        handle.remove()
    assert own == steps == 2 * 3


def test_the_affine_map_of_an_image_is_ours() -> None:
    images = torch.rand(64, 1, 20, 16, generator=torch.Generator().manual_seed(0))
    strengths = Augmentation(rotation=180.0, scale=0.5, translation=5.0)
    torch.manual_seed(1)
    found = random_affine(images, strengths)

    torch.manual_seed(1)  # the same amounts: angle, size, shift
    angle, size = torch.rand(64) * 2 - 1, torch.rand(64) * 2 - 1
    right, down = (torch.rand(64, 2) * 2 - 1).T * strengths.translation
    expected = warp(images, angle * strengths.rotation, 1 + size * strengths.scale, right, down)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["baseline", "fine-tune"])
@pytest.mark.parametrize("strength", ["rotation", "scale", "translation", "none"])
@pytest.mark.slow(reason="the first optimiser of a process imports the compiler of torch, 1.4 s")
def test_each_stage_trains_on_images_moved_by_its_own_strengths(name: str, strength: str) -> None:
    images = ImageSet(noisy_bars(TRAIN, 0))
    seen: list[torch.Tensor] = []
    network = PlainNetwork(CLASSES, SIZE, dropout=0.0)
    network.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0]) if module.training else None
    )
    amounts = {"rotation": 20.0, "scale": 0.3, "translation": 3.0}
    augmentation = Augmentation(**{k: v for k, v in amounts.items() if k == strength})
    kind = FineTuneHyperparameters if name == "fine-tune" else StageHyperparameters
    settings = kind(batch_size=64, augmentation=augmentation)
    train_stage(network, images, images, settings, Schedule(max_epochs=2))

    def by_sum(batch: torch.Tensor) -> torch.Tensor:
        return batch.sum(dim=(1, 2, 3)).sort().values

    first, second = (by_sum(batch) for batch in seen)
    unmoved = by_sum(images.images)
    if strength == "none":
        torch.testing.assert_close(first, unmoved)
        torch.testing.assert_close(second, unmoved)
    else:
        assert (first - unmoved).abs().max() > 1
        assert (first - second).abs().max() > 1, "the same moves in both epochs"


@pytest.mark.parametrize("strength", ["noise", "brightness", "contrast"])
def test_what_the_loop_lacks_is_refused(strength: str) -> None:
    images, network = ImageSet(noisy_bars(TRAIN, 0)), PlainNetwork(CLASSES, SIZE, dropout=0.0)
    settings = StageHyperparameters(augmentation=Augmentation(**{strength: 0.1}))
    with pytest.raises(ValueError, match=f"{strength}=0.1"):
        train_stage(network, images, images, settings, Schedule())


@pytest.mark.slow(reason="the first optimiser of a process imports the compiler of torch, 1.4 s")
def test_every_epoch_is_told_with_the_accuracy_that_the_stage_will_leave() -> None:
    """The last epoch must not be the best; which is, differs between processors and calls."""
    train, validation = ImageSet(noisy_bars(TRAIN, 0)), ImageSet(noisy_bars(VALIDATION, 1))
    for seed in range(20):
        network, told = PlainNetwork(CLASSES, SIZE, dropout=0.0), list[tuple[float, float]]()
        torch.manual_seed(seed)
        stage = train_stage(
            network,
            train,
            validation,
            StageHyperparameters(learning_rate=1e-2, batch_size=8),
            Schedule(max_epochs=8, patience=3),
            lambda *accuracies, told=told: told.append(accuracies),
        )
        if len(told) > stage.best_epoch:
            break
    assert len(told) == len(stage.losses) > stage.best_epoch
    assert told[-1][1] == told[stage.best_epoch - 1][0] == evaluate(network, validation)[1]
