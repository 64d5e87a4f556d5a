"""Trials per hour when several processes share one GPU."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from shiftsearch.data.dataset import Dataset
from shiftsearch.model.device import Device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store

START_LIMIT = 240.0
"""Seconds within which the processes must import torch and train their first trial."""


def share(
    dataset: Dataset, protocol: Protocol, device: Device, count: int, seconds: float
) -> dict[str, Any]:
    """Let `count` processes train reference trials for `seconds`, after a first one to warm up.

    Returns:
        processes, trials_per_hour (all processes together, with fractions of trials by time),
        seconds_per_trial, and on a GPU memory_mb_per_process, which includes CUDA's context.

    Raises:
        RuntimeError: a process ended without a result.
    """
    spawn = multiprocessing.get_context("spawn")
    barrier, told = spawn.Barrier(count + 1), spawn.Queue()
    free = _free_mb(device)
    workers = [
        spawn.Process(
            target=_train, args=(dataset, protocol, device, seed, seconds, barrier, told)
        )
        for seed in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        barrier.wait(START_LIMIT)
        time.sleep(seconds / 2)
        used = free - _free_mb(device)
        trials = [told.get(timeout=START_LIMIT) for _ in workers]
    except Exception as error:
        raise RuntimeError(f"a process of {count} that share the GPU was lost: {error}") from error
    finally:
        for worker in workers:
            worker.join(10)
            worker.kill()
    row = {
        "processes": count,
        "trials_per_hour": sum(trials) / seconds * 3600,
        "seconds_per_trial": seconds * count / sum(trials),
    }
    return row | ({"memory_mb_per_process": used / count} if device.name == "cuda" else {})


def _train(
    dataset: Dataset,
    protocol: Protocol,
    device: Device,
    seed: int,
    seconds: float,
    barrier: Barrier,
    told: Queue[float],
) -> None:
    """Train trials for `seconds`, after a first one; report how many, with the last one's part."""
    device.apply()
    data = prepare(dataset, protocol, device)
    _trial(data, protocol, device, seed)
    barrier.wait(START_LIMIT)
    begin = time.monotonic()
    end, ended = begin + seconds, [begin]
    while ended[-1] < end:
        _trial(data, protocol, device, seed + 1000 * len(ended))
        ended.append(time.monotonic())
    last = ended[-1] - ended[-2]
    told.put(len(ended) - 2 + (end - ended[-2]) / last)


def _trial(data: Any, protocol: Protocol, device: Device, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        run_protocol(ProtocolRun(Hyperparameters(), data, protocol, store, device, seed=seed))


def _free_mb(device: Device) -> float:
    return float(torch.cuda.mem_get_info()[0] / 2**20) if device.name == "cuda" else 0.0
