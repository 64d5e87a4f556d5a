"""Where jobs run: a local Ray or an existing cluster."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import ray
from ray._private import worker
from ray.exceptions import RayError

from shiftsearch.search.executing.faults import first_line
from shiftsearch.search.executing.local_ray import local_ray
from shiftsearch.search.executing.resources import Node, ResourceError
from shiftsearch.search.executing.signals import ignored, restored

WORKER_ENVIRONMENT = {
    # Seconds that a reused worker waits for the thread of its last job. With Ray's default of 2 s
    # the next trial ends in an error that is not reported.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Ray runs each trial in a thread of its own, and glibc gives each thread a heap of its own
    # that it keeps: a worker held 1.2 GiB after 12 trials against 0.5 GiB in one thread.
    "MALLOC_ARENA_MAX": "1",
    # Without these, the kernel maps and clears memory for every tensor of every step: training
    # takes 1.12 to 1.18 times as long (bf16, batch 64, AMD EPYC).
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
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see search.executing.signals
}


@contextlib.contextmanager
def cluster(address: str | None, folder: Path) -> Iterator[None]:
    """Join the Ray cluster at `address`, or start a local one bound to loopback.

    Ray puts the driver's working directory first on its workers' import path. So the process
    changes to `folder`, where only Ray writes, while the cluster is in use. A user's own `data.py`
    is then never imported.

    Messages of Ray, its workers and Optuna are shown only if the root logger is at INFO.

    Args:
        address: of an existing cluster, or None.
        folder: absolute; created if absent.

    Raises:
        ResourceError: there is no cluster at `address`, or this process uses Ray already.
        EnvironmentFault: a local Ray cannot start.
    """
    if ray.is_initialized():
        raise ResourceError(
            "this process uses Ray already, and a search needs its own; call ray.shutdown() first"
        )
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.environ.update({k: v for k, v in _DRIVER_ENVIRONMENT.items() if k not in os.environ})
    talkative = logging.getLogger().isEnabledFor(logging.INFO)
    options: dict[str, Any] = {
        "configure_logging": False,
        "log_to_driver": talkative,
        "runtime_env": {"env_vars": dict(WORKER_ENVIRONMENT)},
    }
    # Ray's messages (tokens, metrics it cannot find, a stack per failed trial) do not help the
    # user; our own messages give the reason of each failure.
    logging.getLogger("ray").setLevel(logging.INFO if talkative else logging.CRITICAL)
    if not talkative:  # it prints to standard output without logging, even without `log_to_driver`
        worker.listen_error_messages = lambda *_: None
    optuna.logging.set_verbosity(optuna.logging.INFO if talkative else optuna.logging.ERROR)
    os.chdir(folder)
    try:
        _start(address, options)
        yield
    finally:
        try:
            with ignored():  # an interrupted shutdown leaves processes behind
                ray.shutdown()
        finally:
            os.chdir(before)


def _start(address: str | None, options: dict[str, Any]) -> None:
    """Start or join Ray, then restore the process's own handler of SIGTERM."""
    try:
        with restored(signal.SIGTERM):  # Ray's own handler raises SystemExit
            if address is None:
                with local_ray() as local:
                    ray.init(**options, **local)
            else:
                _join(address, options)
    except SystemExit:  # Ray's own handler of SIGTERM, which it sets while it starts
        raise KeyboardInterrupt from None


def _join(address: str, options: Mapping[str, Any]) -> None:
    try:
        ray.init(**options, address=address)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        raise ResourceError(f"--address {address}: no Ray cluster ({first_line(error)})") from None


def cluster_nodes() -> list[Node]:
    """The resources of each node of the connected cluster."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [
        Node(r.get("CPU", 0.0), r.get("GPU", 0.0), r.get("memory", math.inf)) for r in resources
    ]


def check_address(address: str) -> None:
    """Check that something answers at `HOST:PORT`; without it, Ray prints and waits for minutes.

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
