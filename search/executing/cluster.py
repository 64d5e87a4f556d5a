"""Where jobs run: a local Ray or an existing cluster."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import ray

from shiftsearch.search.executing.authentication import kept_authentication
from shiftsearch.search.executing.joined import Silence, cluster_addresses, join
from shiftsearch.search.executing.local_ray import (
    kill_local_ray,
    local_ray,
    lost_process,
    own_sessions,
)
from shiftsearch.search.executing.ray_private import print_no_errors, without_monitors
from shiftsearch.search.executing.resources import Node, ResourceError
from shiftsearch.search.executing.signals import ignored, restored
from shiftsearch.search.executing.watch import EndAtOnce, Watch, watched

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
    # Ray writes its state only at the end: nothing reads it, and it grows with the trials.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see search.executing.signals
}


@contextlib.contextmanager
def cluster(address: str | None, folder: Path, end: EndAtOnce | None = None) -> Iterator[None]:
    """Join the Ray cluster at `address`, or start a local one bound to loopback.

    Ray puts the driver's working directory first on its workers' import path. So the process
    changes to `folder`, where only Ray writes, while the cluster is in use. A user's own `data.py`
    is then never imported.

    Messages of Ray, its workers and Optuna are shown only if the root logger is at INFO.

    Args:
        address: of an existing cluster, or None.
        folder: absolute; created if absent.
        end: ends this process at once if it hangs, see `search.executing.watch.Watch`.

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
    if not talkative:
        print_no_errors()
    optuna.logging.set_verbosity(optuna.logging.INFO if talkative else optuna.logging.ERROR)
    os.chdir(folder)
    try:
        with kept_authentication(), _watched(address, end) as watch:
            try:
                _start(address, options)
                yield
            finally:
                with ignored():  # an interrupted shutdown leaves processes behind
                    if watch.ray_ends() and address is None:
                        kill_local_ray()  # without GCS or raylet, its other processes stay
                    ray.shutdown()
    finally:
        os.chdir(before)


def _watched(
    address: str | None, end: EndAtOnce | None
) -> contextlib.AbstractContextManager[Watch]:
    """A watch over the cluster that is joined, or over the local Ray."""

    def end_with_ray(why: str) -> None:
        kill_local_ray()
        if end is not None:
            end(why)

    if address is not None:
        return watched(Silence(cluster_addresses), end)
    return watched(lost_process, None if end is None else end_with_ray)


def _start(address: str | None, options: dict[str, Any]) -> None:
    """Start or join Ray, then restore the process's own handler of SIGTERM."""
    try:
        with restored(signal.SIGTERM):  # Ray's own handler raises SystemExit
            if address is None:
                monitors = without_monitors(with_logs=options["log_to_driver"])
                with local_ray() as local, own_sessions(), monitors:
                    ray.init(**options, **local)
            else:
                join(address, options)
    except SystemExit:  # Ray's own handler of SIGTERM, which it sets while it starts
        raise KeyboardInterrupt from None


def cluster_nodes() -> list[Node]:
    """The resources of each node of the connected cluster."""
    alive = [(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [
        Node(r.get("CPU", 0.0), r.get("GPU", 0.0), r.get("memory", math.inf), node_id)
        for node_id, r in alive
    ]
