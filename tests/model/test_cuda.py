"""The CUDA path of data/ and model/, without Ray: same bits again, close to the CPU's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import shiftsearch.model.recipe
import shiftsearch.model.stage
from shiftsearch.data.augmentation import augment, warp
from shiftsearch.data.dataset import Dataset
from shiftsearch.model.device import Device, choose_device
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.gpu_memory import CONTEXT_BYTES, bound, measured
from shiftsearch.model.hyperparameters import Augmentation, Hyperparameters, Protocol, Schedule
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, build, run_protocol
from shiftsearch.model.report import ProtocolReport
from shiftsearch.model.store import Store, open_store

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="the first call on a GPU loads its kernels"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]

GPU = "cuda"
AUGMENTATION = Augmentation(
    rotation=10.0, scale=0.1, translation=1.0, noise=0.02, brightness=0.1, contrast=0.1
)
PROTOCOL = Protocol(baseline=Schedule(max_epochs=4), fine_tune=Schedule(max_epochs=4))
CONFIGURATION = Hyperparameters.from_flat(
    {
        f"{stage}.{name}": value
        for stage in ("baseline", "fine_tune")
        for name, value in {
            "batch_size": 16,
            **{f"augmentation.{k}": v for k, v in AUGMENTATION.model_dump().items()},
        }.items()
    }
)


@pytest.fixture(params=["float32", "bfloat16"])
def gpu(request: pytest.FixtureRequest) -> Device:
    chosen = choose_device(cpus=1, gpus=1, dtype=request.param)
    assert (chosen.name, chosen.dtype) == (GPU, request.param)
    chosen.apply()
    return chosen


def run(dataset: Dataset, store: Store, device: Device, **changes: Any) -> ProtocolReport:
    data = prepare(dataset, PROTOCOL, device)
    assert data.train.images.device.type == device.name
    return run_protocol(
        ProtocolRun(CONFIGURATION, data, PROTOCOL, store, device, seed=1, **changes)
    )


def bits(weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in weights.items()}


def numbers(result: ProtocolReport) -> Any:
    stages = [report.result for report in (result.baseline, result.fine_tune)]
    losses = [[row["validation_loss"] for row in stage.history] for stage in stages]
    return losses, [bits(stage.weights) for stage in stages], result.fine_tune.test2.accuracy


def test_the_same_configuration_gives_the_same_bits(
    small_dataset: Dataset, store: Store, gpu: Device
) -> None:
    first = run(small_dataset, store, gpu)
    assert first.fine_tune.result.environment["device"] == GPU
    again = run(small_dataset, open_store(f"{store.address}-again"), gpu)
    assert numbers(again) == numbers(first)


def test_interrupted_it_ends_with_the_same_bits(
    small_dataset: Dataset, store: Store, gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run(small_dataset, open_store(f"{store.address}-undisturbed"), gpu)
    monkeypatch.setattr(shiftsearch.model.stage, "SAVE_EVERY", 0.0)
    for stage in ("baseline", "fine_tune"):

        def interrupt(name: str, row: Mapping[str, float], stage: str = stage) -> None:
            if (name, row["epoch"]) == (stage, 3):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(small_dataset, store, gpu, on_epoch=interrupt)
    assert numbers(run(small_dataset, store, gpu)) == numbers(undisturbed)


def test_images_come_in_the_order_of_the_cpu(
    small_dataset: Dataset,
    store: Store,
    gpu: Device,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[Tensor] = []

    def spy(images: Tensor, *_: Any) -> Tensor:
        batches.append(images.cpu())
        return images

    monkeypatch.setattr(shiftsearch.model.recipe, "augment", spy)
    orders = []
    for place in (gpu, device):
        batches.clear()
        run(small_dataset, open_store(f"{store.address}-{place.name}"), place)
        orders.append(torch.cat(batches[:3]))  # the first epoch
    assert len(orders[0]) == 41
    torch.testing.assert_close(*orders, rtol=0, atol=1e-7)


def test_evaluation_is_float32_and_agrees_with_the_cpu(
    small_dataset: Dataset, store: Store, gpu: Device, device: Device
) -> None:
    result = run(small_dataset, store, gpu)
    data = prepare(small_dataset, PROTOCOL, device)
    for report in (result.baseline, result.fine_tune):
        network = build(report.result.weights, 3, (16, 16), device)
        here = evaluate(network, data.selection.images, data.selection.labels)
        assert report.test2.loss == pytest.approx(here.loss, rel=1e-4)  # TF32: 1e-3
        assert report.test2.accuracy == pytest.approx(here.accuracy, abs=1 / here.n)


def test_memory_is_measured_and_bounded(small_dataset: Dataset, store: Store, gpu: Device) -> None:
    """Never run yet: written where there is no GPU."""
    need = measured(lambda: run(small_dataset, store, gpu))
    assert 0 < need.tensors < need.total
    assert CONTEXT_BYTES <= need.context < need.total
    try:
        fraction = bound(0.5)
        most = int(fraction * need.total)
        torch.empty(most // 2, dtype=torch.uint8, device=GPU)
        torch.cuda.empty_cache()
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(most + 2**30, dtype=torch.uint8, device=GPU)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_augmentation_draws_on_the_gpu_and_changes_every_image(gpu: Device) -> None:
    images = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(GPU)
    first, again, other = (
        augment(images, AUGMENTATION, torch.Generator(GPU).manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.device.type == GPU
    assert torch.equal(first, again)
    assert (first != images).flatten(1).any(1).all()
    assert (first != other).flatten(1).any(1).all()
    assert 0 <= first.min() <= first.max() <= 1


def test_a_warp_is_the_cpus(gpu: Device) -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(32, 1, 28, 28, generator=draws)
    degrees, right, down = torch.rand(3, 32, generator=draws) * 10 - 5
    amounts = degrees, 1 + degrees / 50, right, down
    there = warp(images.to(GPU), *(amount.to(GPU) for amount in amounts))
    torch.testing.assert_close(there.cpu(), warp(images, *amounts), rtol=0, atol=1e-4)
