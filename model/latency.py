"""How long a network takes to classify one image on this machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from shiftsearch.model.architecture import Architecture
from shiftsearch.model.device import Device
from shiftsearch.model.network import Network
from shiftsearch.model.protocol import build

WARM_UPS, RUNS = 20, 100


def latency_ms(
    architecture: Architecture,
    classes: int,
    image_size: tuple[int, int],
    clock: Callable[[], int] = time.thread_time_ns,
) -> float:
    """Milliseconds for one image, on one thread of this machine's processor.

    The network is built as an exported model is, in float32, with random weights. The time is the
    thread's processor time, so that other work on the machine changes it less than time by the
    clock. It still depends on the processor, its caches and the version of torch.

    Args:
        architecture: the layers before the head.
        classes: number of classes.
        image_size: (H, W) in pixels.
        clock: nanoseconds of processor time of this thread.

    Returns:
        The median of `RUNS` runs, after `WARM_UPS` that are not measured.
    """
    device = Device("cpu", "float32", 1, "a latency is measured on one thread")
    with torch.random.fork_rng(devices=[]):
        random = Network(classes, image_size, architecture=architecture)
    network = build(random.state_dict(), classes, image_size, device, architecture)
    image = torch.zeros(1, 1, *image_size)
    threads = torch.get_num_threads()
    torch.set_num_threads(device.threads)
    try:
        with torch.inference_mode():
            times = [_timed(network, image, clock) for _ in range(WARM_UPS + RUNS)]
    finally:
        torch.set_num_threads(threads)
    return median(times[WARM_UPS:]) / 1e6


def _timed(network: torch.nn.Module, image: torch.Tensor, clock: Callable[[], int]) -> int:
    begin = clock()
    network(image)
    return clock() - begin


def processor() -> str:
    """The name of this machine's processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    facts = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
    return facts.get("model name") or platform.processor() or platform.machine()
