"""Where jobs run: a local Ray or a cluster that exists, and what fits on it."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from ray._private import ray_constants

from model.device import available_cpus, available_gpus

WORKER_ENVIRONMENT = {
    # A reused worker waits so long for its former job's thread; at Ray's default of 2 s the next
    # trial turns into an error that nobody is told of.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Ray runs each trial in a thread of its own, and glibc gives each thread a heap of its own
    # that it keeps: a worker held 1.2 GiB after 12 trials against 0.5 GiB in one thread.
    "MALLOC_ARENA_MAX": "1",
    # Without these every tensor of a step is mapped and cleared by the kernel anew: training takes
    # 1.12 to 1.18 times as long (bf16, batch 64, AMD EPYC).
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
_DRIVER_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_RUNTIME_ENV_LOG_TO_DRIVER_ENABLED": "0",
}
_OBJECT_STORE_BYTES = 100 * 2**20  # nothing large travels; Ray would take 30 % of the memory


class ResourceError(ValueError):
    """What a trial asks for is not there; the message says what is asked and what there is."""


@dataclass(frozen=True)
class Resources:
    """What a trial gets and how many run at once.

    Attributes:
        cpus_per_trial, gpus_per_trial: may be fractions.
        concurrency: trials at once.
        reason: one line that says why.
    """

    cpus_per_trial: float
    gpus_per_trial: float
    concurrency: int
    reason: str


@contextlib.contextmanager
def cluster(address: str | None, folder: Path) -> Iterator[None]:
    """Join the Ray cluster at `address`, or start a local one bound to loopback.

    Ray puts the driver's working directory first on its workers' import path, so the process
    stands in `folder`, which is ours alone, while the cluster is in use: a user's own `data.py`
    is never imported there.

    Ray, its workers and Optuna say what they have to say where the root logger is at INFO, and
    else are silent.

    Args:
        address: of an existing cluster, or None.
        folder: absolute; created when absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.environ.update({k: v for k, v in _DRIVER_ENVIRONMENT.items() if k not in os.environ})
    talkative = logging.getLogger().isEnabledFor(logging.INFO)
    options: dict[str, Any] = {
        "configure_logging": False,
        "log_to_driver": talkative,
        "runtime_env": {"env_vars": dict(WORKER_ENVIRONMENT)},
    }
    if address is None:
        # The switch of `get_node_ip_address` between the loopback address and the machine's own;
        # its environment variable is read before we can know. `_node_ip_address="127.0.0.1"` is
        # turned into the machine's own address, and everything would listen to the world.
        ray_constants.ENABLE_RAY_CLUSTER = False
        options |= {
            "address": "local",
            "include_dashboard": importlib.util.find_spec("aiohttp_cors") is not None,
            "dashboard_host": "127.0.0.1",
            "num_cpus": available_cpus(),
            "num_gpus": available_gpus(),
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    else:
        options["address"] = address
    # Ray's own words (tokens, metrics it cannot find, a stack per failed trial) mean nothing to
    # who runs a search; what fails is told by its reason.
    logging.getLogger("ray").setLevel(logging.INFO if talkative else logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.INFO if talkative else optuna.logging.ERROR)
    os.chdir(folder)
    try:
        try:
            handler = signal.getsignal(signal.SIGTERM)
            ray.init(**options)
            signal.signal(signal.SIGTERM, handler)  # Ray's own leaves by SystemExit
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ResourceError(
                f"--address {address}: no Ray cluster ({first_line(error)})"
            ) from None
        except SystemExit:  # Ray's own SIGTERM handler, which it sets midway
            raise KeyboardInterrupt from None
        yield
    finally:
        ray.shutdown()
        os.chdir(before)


def cluster_nodes() -> list[tuple[float, float]]:
    """CPUs and GPUs of each node of the connected cluster."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(r.get("CPU", 0.0), r.get("GPU", 0.0)) for r in resources]


def fit_resources(
    nodes: Sequence[tuple[float, float]],
    cpus: float | None,
    gpus: float | None,
    concurrency: int | None,
    jobs: int,
) -> Resources:
    """Resources per trial and concurrency that fit; None means: choose.

    Args:
        nodes: CPUs and GPUs of each; a trial has to fit into one.
        cpus: per trial.
        gpus: per trial.
        concurrency: at most so many trials at once.
        jobs: more at once are of no use.

    Raises:
        ResourceError: when not even one trial fits.
    """
    all_cpus, all_gpus = (sum(amounts) for amounts in zip(*nodes, strict=True))
    gpus = (1.0 if all_gpus else 0.0) if gpus is None else gpus
    # One thread and one trial per core trained 2 x 2,025 images per second against 3,885 for one
    # trial with two threads; beside a GPU, the CPU only feeds it.
    cpus = 1.0 if cpus is None else cpus
    fitting = 0
    for node_cpus, node_gpus in nodes:
        limits = [node_cpus / cpus, *([node_gpus / gpus] if gpus else [])]
        fitting += int(min(limits) + 1e-9)
    if fitting < 1:
        raise ResourceError(
            f"resources: a trial asks for {cpus:g} CPUs and {gpus:g} GPUs on one node, but there "
            f"are {all_cpus:g} CPUs and {all_gpus:g} GPUs on {len(nodes)}"
        )
    chosen = max(1, min(fitting, jobs) if concurrency is None else min(concurrency, fitting))
    reason = (
        f"{chosen} trial{'s' * (chosen > 1)} at once: {cpus:g} CPU and {gpus:g} GPU each, of "
        f"{all_cpus:g} CPU and {all_gpus:g} GPU"
    )
    return Resources(cpus, gpus, chosen, reason)


def first_line(error: BaseException) -> str:
    """What an exception says, without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def check_address(address: str) -> None:
    """Ask a `HOST:PORT` before Ray does: Ray prints and waits for minutes where nothing is.

    Raises:
        ResourceError: nothing answers there.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ResourceError(f"--address {address}: nothing answers there ({error})") from None
