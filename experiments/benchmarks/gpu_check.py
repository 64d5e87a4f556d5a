"""Whether a GPU gives the CPU's results, and how fast it is: run with `make gpu-check`.

Needs torch, numpy, numba, pydantic, safetensors and pytest, but neither Ray nor Optuna, and takes
less than 8 minutes. Without a GPU it says so and exits with 0. The parts, in order:

1. the CUDA tests, `tests/model/test_cuda.py`;
2. one process: images per second in training, float32 and bfloat16, by batch size; the memory of
   the process; the fraction of an epoch in which the GPU computes, and its kernel launches;
3. the reference protocol on CPU and GPU under the same seeds: accuracies within noise;
4. 1, 2, 4, 8 and 16 processes that share the GPU: trials per hour.

The exit code is 1 when a test fails or the accuracies differ by more than noise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from shiftsearch.data.drifts import DEFAULT_DRIFT, DRIFTS
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.gpu_parity import against_cpu
from shiftsearch.experiments.benchmarks.gpu_sharing import share
from shiftsearch.experiments.benchmarks.gpu_table import print_table
from shiftsearch.model.device import Device, available_cpus, choose_device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun
from shiftsearch.model.store import open_store

REPOSITORY = Path(__file__).resolve().parents[2]
CUDA_TESTS = "tests/model/test_cuda.py"
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        counts: images per split.
        schedule: schedule of both stages in the parity and sharing parts.
        seeds: number of seeds of the parity part, 2 to 10.
        batches: batch sizes of the speed part.
        epochs: epochs of each speed measurement, without one to warm up.
        processes: numbers of processes that share the GPU.
        seconds: duration of each sharing measurement.
    """

    counts: Mapping[str, int]
    schedule: Schedule
    seeds: int
    batches: Sequence[int]
    epochs: int
    processes: Sequence[int]
    seconds: float


COUNTS = DRIFTS[DEFAULT_DRIFT].counts
FULL = Extent(COUNTS, Schedule(), 8, (64, 256, 1024), 4, (1, 2, 4, 8, 16), 15.0)
REHEARSAL = Extent(dict.fromkeys(COUNTS, 60), Schedule(max_epochs=1), 2, (16,), 1, (1, 2), 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts, print one table and write the JSON file; returns the exit code."""
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check.json"), metavar="FILE")
    parser.add_argument(
        "--rehearse", action="store_true", help="run all parts in small on the CPU, as a test"
    )
    options = parser.parse_args(argv)
    if not (options.rehearse or torch.cuda.is_available()):
        print("gpu-check: torch sees no GPU on this machine; nothing to check")
        return 0
    extent = REHEARSAL if options.rehearse else FULL
    report = Check(extent, gpus=0 if options.rehearse else 1).run()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print_table(report)
    print(f"written: {options.out}")
    return 0 if report["passed"] else 1


class Check:
    """Measures all parts on one dataset.

    Args:
        extent: how much is measured.
        gpus: 1, or 0 to rehearse on the CPU.
    """

    def __init__(self, extent: Extent, gpus: int) -> None:
        self.extent, self.gpus = extent, gpus
        self.dataset = synthesize(counts=extent.counts)
        self.protocol = Protocol(baseline=extent.schedule, fine_tune=extent.schedule)

    def run(self) -> dict[str, Any]:
        """Run all parts; returns the figures as JSON values, with the verdict as `passed`."""
        begin = time.monotonic()
        report: dict[str, Any] = {"machine": machine(self.gpus)}
        # The tests first, while nothing else uses the GPU; speed before parts that load the CPUs.
        parts: dict[str, Callable[[], Any]] = {
            "tests": lambda: run_tests(self.gpus),
            "speed": self.speed,
            "parity": self.parity,
            "sharing": self.sharing,
        }
        report["errors"] = {}
        for name, part in parts.items():
            print(f"-- {name}", flush=True)
            try:
                report[name] = part()
            except Exception as error:  # go on: the other parts are useful, and GPU time is scarce
                traceback.print_exc()
                report[name] = []
                report["errors"][name] = f"{type(error).__name__}: {error}"
            print(f"-- {name}: done {time.monotonic() - begin:.0f} s after the start", flush=True)
        report["seconds"] = time.monotonic() - begin
        rows = [*report["tests"], *report["parity"]]
        report["passed"] = not report["errors"] and all(row["passed"] for row in rows)
        return report

    # ---- one process

    def speed(self) -> list[dict[str, Any]]:
        """A row per dtype and batch size."""
        rows = []
        for dtype in DTYPES:
            device = self._device(dtype)
            for batch in self.extent.batches:
                rows.append({"dtype": dtype, "batch": batch, **self._speed(device, batch)})
                print(rows[-1], flush=True)
        return rows

    def _speed(self, device: Device, batch: int) -> dict[str, Any]:
        epochs = self.extent.epochs
        self._baseline(device, batch, 1)  # loads kernels
        rows = self._baseline(device, batch, epochs)
        seconds = sum(row["seconds"] for row in rows)
        figures = {
            "images_per_second": median(row["images_per_second"] for row in rows),
            "seconds_per_epoch": seconds / epochs,
        }
        if device.name != "cuda":
            return figures
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities, acc_events=True) as profile:
            self._baseline(device, batch, epochs)
        on_gpu = [e for e in profile.events() if e.device_type == DeviceType.CUDA]
        busy = [e.time_range.elapsed_us() for e in on_gpu]
        steps = epochs * math.ceil(self.extent.counts["TRAIN"] / batch)
        return figures | {
            "gpu_busy_share": sum(busy) / 1e6 / seconds if busy else None,
            "launches_per_step": len(busy) / steps if busy else None,
            "microseconds_per_launch": fmean(busy) if busy else None,
            "peak_tensor_mb": torch.cuda.max_memory_allocated() / 2**20,
            "reserved_mb": torch.cuda.max_memory_reserved() / 2**20,
        }

    def _baseline(self, device: Device, batch: int, epochs: int) -> Sequence[Mapping[str, float]]:
        device.apply()
        schedule = Schedule(max_epochs=epochs, patience=epochs)
        protocol = Protocol(baseline=schedule, fine_tune=schedule)
        configuration = Hyperparameters.from_flat({"baseline.batch_size": batch})
        with tempfile.TemporaryDirectory() as folder:
            data = prepare(self.dataset, protocol, device)
            store = open_store(folder)
            run = ProtocolRun(configuration, data, protocol, store, device, seed=0)
            return run.baseline().history

    # ---- parity

    def parity(self) -> list[dict[str, Any]]:
        """Two rows per dtype of the GPU, against float32 on the CPU under the same seeds."""
        devices = [self._device(dtype) for dtype in DTYPES]
        return against_cpu(self.dataset, self.protocol, self.extent.seeds, devices)

    # ---- sharing

    def sharing(self) -> list[dict[str, Any]]:
        """A row per number of processes that share the GPU and train one trial after another."""
        rows = []
        for count in self.extent.processes:
            device = self._device("bfloat16")
            rows.append(share(self.dataset, self.protocol, device, count, self.extent.seconds))
            rows[-1]["times_one_process"] = (
                rows[-1]["trials_per_hour"] / rows[0]["trials_per_hour"]
            )
            print(rows[-1], flush=True)
        return rows

    def _device(self, dtype: str) -> Device:
        return choose_device(cpus=1, gpus=self.gpus, dtype=dtype)


def run_tests(gpus: int) -> list[dict[str, Any]]:
    """Run the CUDA tests in a separate process; without a GPU they are only collected."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "unit", "-p", "no:cacheprovider"]
    command += [CUDA_TESTS, *([] if gpus else ["--collect-only"])]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    counted = re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)
    return [
        {
            "passed": done.returncode == 0,
            "counts": {word: int(number) for number, word in counted},
        }
    ]


def machine(gpus: int) -> dict[str, Any]:
    """The machine's processor, GPU and software versions."""
    facts: dict[str, Any] = {
        "cpus": available_cpus(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    if gpus:
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu": properties.name,
            "gpu_memory_mb": properties.total_memory / 2**20,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return facts


if __name__ == "__main__":
    raise SystemExit(main())
