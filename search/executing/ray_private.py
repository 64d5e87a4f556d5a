"""All that is used of Ray's private parts.

`tests/search/executing/test_ray_private.py` has a test of each, which fails if it moves. No other
module imports private modules of Ray, which `tests/test_floors.py` checks.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ray._private import parameter, ray_constants, services, state, worker
from ray._private.utils import detect_fate_sharing_support
from ray._raylet import AuthenticationTokenLoader, Config, GcsClient  # type: ignore[attr-defined]
from ray.exceptions import RayActorError, RayError, RayTaskError

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

NEEDED = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)
"""Names of the processes of a local Ray that every job needs."""


# ---- a local Ray


def session_path() -> str:
    """The folder of Ray's session on this machine; Ray is connected."""
    return str(worker._global_node.get_session_dir_path())


def logs_path() -> str:
    """The folder of the logs of the Ray that this process has started."""
    return str(worker._global_node.get_logs_dir_path())


def ended_processes() -> list[tuple[str, int]]:
    """Names and exit codes of the processes of this process's local Ray that have ended."""
    node = worker._global_node
    return [] if node is None else [(n, p.returncode) for n, p in node.dead_processes()]


def process_numbers() -> list[int]:
    """The processes that this process's local Ray has started, alive or not."""
    node = worker._global_node
    started = [] if node is None else list(node.all_processes.values())
    return [found.process.pid for processes in started for found in processes]


def listen_on_loopback() -> None:
    """Let a local Ray take the loopback address for this machine's own.

    Its environment variable is read too early to be set here. Ray replaces
    `_node_ip_address="127.0.0.1"` by the machine's own address, and would then accept connections
    from other machines.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False


def kernel_ties_children() -> bool:
    """Whether the kernel ends Ray's processes with this one."""
    return bool(detect_fate_sharing_support())


@contextlib.contextmanager
def sessions_of_their_own() -> Iterator[None]:
    """Inside, each process of Ray is started in a session of its own."""
    popen = services.ConsolePopen
    services.ConsolePopen = functools.partial(popen, start_new_session=True)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextlib.contextmanager
def without_monitors(with_logs: bool) -> Iterator[None]:
    """Inside, a local Ray starts without the monitor of its autoscaler, which has nothing to do.

    Args:
        with_logs: whether the monitor of the logs is started, which sends the lines that workers
            print to this process.
    """
    parameters = parameter.RayParams
    parameter.RayParams = functools.partial(
        parameters, no_monitor=True, include_log_monitor=with_logs
    )
    try:
        yield
    finally:
        parameter.RayParams = parameters


def print_no_errors() -> None:
    """Let Ray not print the errors of its workers, which it does even without `log_to_driver`."""
    worker.listen_error_messages = lambda *_: None


# ---- a cluster that is joined


def bootstrap_address(address: str) -> str | None:
    """The address that `ray.init` would join; None if `auto` finds nothing.

    Raises:
        ConnectionError, ValueError: there is none.
    """
    found: str | None = services.canonicalize_bootstrap_address(address)
    return found


def has_token() -> bool:
    """Whether this process has a token, used or not."""
    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def read_token_settings() -> None:
    """Read RAY_AUTH_MODE and the token again; Ray keeps them as it found them first."""
    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")


def ask_head(address: str) -> None:
    """Connect to a cluster's head, with this process's token if RAY_AUTH_MODE is token.

    Raises:
        ray.exceptions.AuthenticationError: it asks for a token, and this is not it.
        ray.exceptions.RayError, RuntimeError: anything else.
    """
    GcsClient(address=address)


# ---- Ray Tune


class WorkerError(RayActorError):  # type: ignore[misc]
    """An error about one worker, as Ray Tune knows it.

    Attributes:
        error: Ray's own error.
    """

    def __init__(self, error: RayError) -> None:
        super().__init__(error_msg=str(error))
        self.error = error


@contextlib.contextmanager
def errors_cost_one_worker() -> Iterator[None]:
    """Inside, an error about one worker ends the trial of that worker alone, as `WorkerError`.

    Ray Tune expects a `RayActorError`. At any other, such as the `OutOfMemoryError` of a worker
    that Ray killed, it ends all workers and raises. When a worker does not start, it forgets why.
    """
    from ray.air.execution._internal.actor_manager import RayActorManager  # late, as below

    def known(error: Exception) -> Exception:
        is_known = not isinstance(error, RayError) or isinstance(
            error, (RayActorError, RayTaskError)
        )
        return error if is_known else WorkerError(error)

    in_task, at_start = RayActorManager._actor_task_failed, RayActorManager._actor_start_failed

    def task_failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        in_task(self, tracked_actor_task, known(exception))

    def start_failed(self: Any, tracked_actor: Any, exception: Exception) -> None:
        at_start(self, tracked_actor, known(exception))

    RayActorManager._actor_task_failed = task_failed
    RayActorManager._actor_start_failed = start_failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = in_task
        RayActorManager._actor_start_failed = at_start


def forget_ended(controller: TuneController) -> None:
    """Let Ray Tune forget the trials that have ended and have no worker any more.

    Ray keeps them all, with 50 kB each (issue ray #64231), and looks at each again and again.
    """
    from ray.tune.progress_reporter import TrialProgressCallback  # late: doctor needs no Ray Tune

    known = controller._callbacks._callbacks
    reporters = [callback for callback in known if isinstance(callback, TrialProgressCallback)]
    for trials in (controller._stopped_trials, controller._failed_trials):
        for trial in [*trials]:
            if trial in controller._trial_to_actor or trial in controller._resetting_trials:
                continue
            trials.discard(trial)
            controller._trials.remove(trial)
            controller._live_trials.discard(trial)
            controller._trials_to_cache.discard(trial)
            controller._trial_metadata.pop(trial.trial_id, None)
            for reporter in reporters:
                reporter._completed_trials.discard(trial)
                for kept in (reporter._last_print, reporter._last_print_iteration):
                    kept.pop(trial, None)
                reporter._last_result_str.pop(trial, None)


def given_to_old_workers(controller: TuneController) -> list[str]:
    """Ids of the trials that were given to a worker of an earlier one, which has not answered."""
    return [trial.trial_id for trial in controller._resetting_trials]


def process_of(controller: TuneController, trial: Trial) -> tuple[str, int] | None:
    """The node's id and the process of a trial's worker; None if it has none."""
    workers = controller._actor_manager._live_actors_to_ray_actors_resources
    found = workers.get(controller._trial_to_actor.get(trial))
    if found is None:
        return None
    actor = state.actors(found[0]._actor_id.hex())
    return (actor["Address"]["NodeID"], actor["Pid"]) if actor.get("Pid") else None


def error_file(trial: Trial) -> str | None:
    """The file with the pickled exception of a failed trial.

    Not `Trial.get_pickled_error()`, which reads storage that is not synchronised yet.
    """
    found: str | None = trial.pickled_error_file
    return found
