"""Training throughput of our stage against the plain loop, and whether their accuracies agree.

Three sides on one thread: the plain loop, ours in the dtype that it chooses, ours in float32.
First, short turns of one epoch per stage give the images per second. Then turns of the whole
protocol, one per seed, give its seconds and the final accuracies of the reference configuration.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.plain_loop import run_plain
from shiftsearch.experiments.benchmarks.turns import (
    Figure,
    in_turns,
    print_figures,
    spread,
)
from shiftsearch.experiments.outcome.statistics import mean_interval
from shiftsearch.model.architecture import REFERENCE
from shiftsearch.model.device import Device, choose_device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store

BOUND_WITH_AMX = 3.5
SHORT_TURNS = 12
QUICK_SEEDS, FULL_SEEDS = 5, 15
PLAIN, OURS, FLOAT32 = "plain loop", "our stage", "our stage, float32"


@dataclass(frozen=True)
class Outcome:
    """One side's protocol under one seed.

    Attributes:
        images_per_second: training speed of the baseline, without validation.
        seconds: wall-clock seconds of the whole protocol: both stages, evaluations, store.
        test2: accuracy on TEST2's selection part after fine-tuning, 0..1.
    """

    images_per_second: float
    seconds: float
    test2: float


def measure(dataset: Dataset, seeds: int, max_epochs: int) -> list[Figure]:
    """The figures over some seeds, with a maximum of epochs per stage."""
    device = choose_device(cpus=1, gpus=0)
    device.apply()
    print(device.reason)
    short = in_turns(_sides(dataset, 1, device), SHORT_TURNS + 1)
    # The first turn compiles kernels and fills caches.
    speed = {name: outcomes[1:] for name, outcomes in short.items()}
    whole = in_turns(_sides(dataset, max_epochs, device), seeds)
    return [*_speed_figures(speed, device), _whole_figure(whole), *_accuracy_figures(whole)]


def _sides(
    dataset: Dataset, max_epochs: int, device: Device
) -> dict[str, Callable[[int], Outcome]]:
    schedule = Schedule(max_epochs=max_epochs)
    protocol = Protocol(baseline=schedule, fine_tune=schedule)
    float32 = choose_device(cpus=1, gpus=0, dtype="float32")

    def plain(seed: int) -> Outcome:
        result = run_plain(dataset, Hyperparameters(), protocol, seed)
        return _told(
            PLAIN, seed, Outcome(result.images_per_second, result.seconds, result.test2[1])
        )

    return {
        PLAIN: plain,
        OURS: lambda seed: _told(OURS, seed, _ours(dataset, protocol, device, seed)),
        FLOAT32: lambda seed: _told(FLOAT32, seed, _ours(dataset, protocol, float32, seed)),
    }


def _ours(dataset: Dataset, protocol: Protocol, device: Device, seed: int) -> Outcome:
    data = prepare(dataset, protocol, device)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        result = run_protocol(
            ProtocolRun(Hyperparameters(), data, protocol, open_store(folder), device, seed=seed)
        )
        seconds = time.perf_counter() - begin
    epochs = result.baseline.result.history
    train_seconds = sum(len(data.train.labels) / row["images_per_second"] for row in epochs)
    speed = len(data.train.labels) * len(epochs) / train_seconds
    return Outcome(speed, seconds, result.fine_tune.test2.accuracy)


def _told(name: str, seed: int, outcome: Outcome) -> Outcome:
    print(
        f"seed {seed}, {name}: {outcome.images_per_second:.0f} images/s, "
        f"{outcome.seconds:.1f} s, TEST2 {outcome.test2:.2%}",
        flush=True,
    )
    return outcome


def _speed_figures(results: dict[str, list[Outcome]], device: Device) -> list[Figure]:
    turns = f"{len(results[PLAIN])} turns"
    figures = [
        Figure(
            f"{name}{f', {device.dtype}' * (name == OURS)}: images/s in training",
            spread([o.images_per_second for o in outcomes], ".0f"),
            turns,
        )
        for name, outcomes in results.items()
    ]
    figures.append(_share_of_peak(results[OURS], device, turns))
    ratios = _ratios(results, OURS, "images_per_second")
    has_amx = torch.cpu._is_amx_tile_supported()
    figures += [
        Figure(
            f"images/s of {OURS}, {device.dtype}, over the {PLAIN}",
            spread(ratios),
            turns,
            f"median at least {BOUND_WITH_AMX}" if has_amx else "",
            not has_amx or median(ratios) >= BOUND_WITH_AMX,
        ),
        Figure(
            f"images/s of {FLOAT32}, over the {PLAIN}",
            spread(_ratios(results, FLOAT32, "images_per_second")),
            turns,
        ),
    ]
    return figures


def _share_of_peak(outcomes: list[Outcome], device: Device, turns: str) -> Figure:
    """The fraction of the peak speed of large matrix products in this dtype, on one thread."""
    dtype, size = getattr(torch, device.dtype), 2048
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    seconds = []
    for _ in range(8):
        begin = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - begin)
    peak = 2 * size**3 / min(seconds)
    shares = [o.images_per_second * training_flops() / peak for o in outcomes]
    name = f"fraction of the measured {device.dtype} matrix peak, {peak / 1e9:.0f} GFLOP/s"
    return Figure(name, spread(shares), turns)


def training_flops(side: int = 28) -> int:
    """Floating point operations of one training image: forward, and both gradients of each layer.

    The first convolution's input needs no gradient. The head, under 0.1 %, is left out.
    """
    network = REFERENCE
    widths = (1, *network.filters)
    sides = (side, side // 2, side // 4)
    macs = [9 * i * o * s * s for i, o, s in zip(widths, network.filters, sides, strict=False)]
    dense = network.filters[-1] * (side // 8) ** 2 * network.dense
    return 2 * (3 * (sum(macs) + dense) - macs[0])


def _whole_figure(results: dict[str, list[Outcome]]) -> Figure:
    ratios = [1 / ratio for ratio in _ratios(results, OURS, "seconds")]
    name = f"seconds of the whole protocol, {PLAIN} over {OURS}"
    return Figure(name, spread(ratios), f"{len(ratios)} turns")


def _ratios(results: dict[str, list[Outcome]], side: str, field: str) -> list[float]:
    """A side's value divided by the plain loop's, for each turn."""
    pairs = zip(results[side], results[PLAIN], strict=True)
    return [getattr(own, field) / getattr(plain, field) for own, plain in pairs]


def _accuracy_figures(results: dict[str, list[Outcome]]) -> list[Figure]:
    seeds = f"{len(results[PLAIN])} seeds"
    figures = [
        Figure(
            f"{name}: TEST2 accuracy after fine-tuning, %",
            spread([100 * o.test2 for o in outcomes]),
            seeds,
        )
        for name, outcomes in results.items()
    ]
    for name in (OURS, FLOAT32):
        pairs = zip(results[name], results[PLAIN], strict=True)
        mean, low, high = mean_interval([100 * (own.test2 - plain.test2) for own, plain in pairs])
        verdict = "equal within noise" if low <= 0 <= high else "different"
        figures.append(
            Figure(
                f"TEST2 of {name} minus the {PLAIN}, points; mean and 95 % interval",
                f"{mean:+.2f} [{low:+.2f}, {high:+.2f}], {verdict}",
                seeds,
                "interval not below 0",
                high >= 0,
            )
        )
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: the synthetic set")
    parser.add_argument("--full", action="store_true", help=f"{FULL_SEEDS} seeds")
    parser.add_argument("--seeds", type=int, help=f"one turn each, default {QUICK_SEEDS}")
    parser.add_argument("--epochs", type=int, default=Schedule().max_epochs, help="a stage's most")
    options = parser.parse_args(argv)
    seeds = options.seeds or (FULL_SEEDS if options.full else QUICK_SEEDS)
    if seeds < 2:
        parser.error(f"--seeds is {seeds}, but must be at least 2 for an interval")
    dataset = open_dataset(options.data)[0] if options.data else synthesize()
    return print_figures(measure(dataset, seeds, options.epochs))


if __name__ == "__main__":
    raise SystemExit(main())
