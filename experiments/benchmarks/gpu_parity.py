"""The reference protocol on a GPU and on the CPU under the same seeds: equal within noise?"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean, median, stdev
from typing import Any

from shiftsearch.data.dataset import Dataset
from shiftsearch.model.device import Device, available_cpus, choose_device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store

T_995 = {2: 63.66, 3: 9.92, 4: 5.84, 5: 4.60, 6: 4.03, 7: 3.71, 8: 3.50, 9: 3.36, 10: 3.25}
"""The 99.5 % quantile of Student's t by number of values, for a 99 % interval of their mean."""


def against_cpu(
    dataset: Dataset, protocol: Protocol, seeds: int, devices: Sequence[Device]
) -> list[dict[str, Any]]:
    """Compare each device with float32 on the CPU under the same seeds.

    Args:
        dataset: the images of all splits.
        protocol: the stages that each trial trains.
        seeds: how many trials, 2 to 10.
        devices: what is compared with the CPU.

    Returns:
        Two rows per device: TEST2 accuracy before and after fine-tuning.
    """
    spawn = multiprocessing.get_context("spawn")
    workers = min(seeds, available_cpus())
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        cpu = choose_device(cpus=1, gpus=0, dtype="float32")
        jobs = [pool.submit(trial, dataset, protocol, cpu, seed) for seed in range(seeds)]
        expected = [job.result() for job in jobs]
    rows = []
    for device in devices:
        found = [trial(dataset, protocol, device, seed) for seed in range(seeds)]
        for name in ("before", "after"):
            rows.append(
                {
                    "dtype": device.dtype,
                    "accuracy": f"TEST2 {name} fine-tuning",
                    **compare([f[name] for f in found], [e[name] for e in expected]),
                    "seconds_gpu": median(f["seconds"] for f in found),
                    "seconds_cpu": median(e["seconds"] for e in expected),
                }
            )
            print(rows[-1], flush=True)
    return rows


def trial(dataset: Dataset, protocol: Protocol, device: Device, seed: int) -> dict[str, float]:
    """Train the reference configuration: TEST2 selection accuracies in 0..1, and seconds."""
    device.apply()
    data = prepare(dataset, protocol, device)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        store = open_store(folder)
        run = ProtocolRun(Hyperparameters(), data, protocol, store, device, seed=seed)
        result = run_protocol(run)
        seconds = time.monotonic() - begin
    before, after = result.baseline.test2.accuracy, result.fine_tune.test2.accuracy
    return {"before": before, "after": after, "seconds": seconds}


def compare(found: Sequence[float], expected: Sequence[float]) -> dict[str, Any]:
    """Paired difference with its 99 % interval; it passes if the interval contains 0.

    Half of the interval is at least half a percentage point, because accuracies need not be equal
    to the last digit.
    """
    differences = [f - e for f, e in zip(found, expected, strict=True)]
    half = T_995[len(differences)] * stdev(differences) / math.sqrt(len(differences))
    half = max(half, 0.005)
    centre = fmean(differences)
    return {
        "n": len(differences),
        "gpu_mean": fmean(found),
        "cpu_mean": fmean(expected),
        "gpu_sd": stdev(found),
        "cpu_sd": stdev(expected),
        "difference": centre,
        "interval": [centre - half, centre + half],
        "passed": abs(centre) <= half,
    }
