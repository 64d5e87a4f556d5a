"""Each private part of Ray that is used: a test that fails when it moves or changes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import exceptions
from ray._private import parameter, ray_constants, services, worker
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.tune.experiment import Trial

from shiftsearch.search.executing import ray_private
from shiftsearch.search.executing.faults import fault_of

pytestmark = pytest.mark.integration


def command_of(pid: int) -> str:
    """The name of a process's program."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().rpartition("/")[2]


def test_the_session_and_its_logs(local_ray: Path) -> None:
    session, logs = Path(ray_private.session_path()), Path(ray_private.logs_path())
    assert logs.is_relative_to(session)
    assert {f"{name}.out" for name in ray_private.NEEDED} <= {p.name for p in logs.iterdir()}


def test_the_processes_of_a_local_ray(local_ray: Path) -> None:
    assert set(ray_private.NEEDED) <= {command_of(n) for n in ray_private.process_numbers()}
    assert ray_private.NEEDED[0] not in [name for name, _ in ray_private.ended_processes()]


def test_a_process_that_has_ended_is_named(
    local_ray: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its exit code is made up; Ray keeps each process as it was started."""
    dashboard = worker._global_node.all_processes["dashboard"][0].process
    monkeypatch.setattr(dashboard, "returncode", -9)
    monkeypatch.setattr(dashboard, "poll", lambda: -9)
    assert ("dashboard", -9) in ray_private.ended_processes()


def test_a_local_ray_has_no_monitors(local_ray: Path) -> None:
    assert worker._global_node.all_processes.keys().isdisjoint({"monitor", "log_monitor"})
    before = parameter.RayParams
    for with_logs in (True, False):
        with ray_private.without_monitors(with_logs):
            found = parameter.RayParams()
        assert (found.no_monitor, found.include_log_monitor) == (True, with_logs)
    assert parameter.RayParams is before


def test_processes_are_started_in_sessions_of_their_own(local_ray: Path) -> None:
    assert ray_private.kernel_ties_children()  # on Linux
    numbers = ray_private.process_numbers()
    assert numbers
    assert [os.getsid(number) for number in numbers] == numbers
    before = services.ConsolePopen
    with ray_private.sessions_of_their_own():
        assert services.ConsolePopen is not before
    assert services.ConsolePopen is before


def test_a_local_ray_takes_the_loopback_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)  # raises if it is gone
    ray_private.listen_on_loopback()
    monkeypatch.setattr(worker, "_global_node", None)
    assert services.get_node_ip_address() == "127.0.0.1"


def test_errors_of_workers_are_not_printed(local_ray: Path) -> None:
    """Ray writes five coloured lines into the live view for each lost worker."""
    thread = worker.global_worker.listener_thread
    assert thread.name == "ray_listen_error_messages"
    assert not thread.is_alive()


def test_the_address_that_ray_would_join(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_private.bootstrap_address("10.1.2.3:6379") == "10.1.2.3:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.1.2.3:6380")
    assert ray_private.bootstrap_address("auto") == "10.1.2.3:6380"


def test_the_token_and_the_head(local_ray: Path) -> None:
    ray_private.read_token_settings()  # a local Ray has made one
    assert ray_private.has_token()
    ray_private.ask_head(ray.get_runtime_context().gcs_address)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.OutOfMemoryError("Task was killed due to the node running low on memory"),
        exceptions.RuntimeEnvSetupError("cannot be made"),
        exceptions.ActorUnschedulableError("its node is away"),
        exceptions.RaySystemError("the raylet is gone"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_about_a_worker_is_taken_for_its_loss(
    error: exceptions.RayError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the worker starts and afterwards; `test_tune` does it with a real Ray Tune."""
    heard = list[Exception]()

    def hear(actor: TrackedActor, error: Exception) -> None:
        heard.append(error)

    monkeypatch.setattr(RayActorManager, "_cleanup_actor", lambda self, tracked_actor: None)
    manager: Any = RayActorManager(SimpleNamespace())
    actor = TrackedActor(1, on_error=hear)
    task = TrackedActorTask(actor, on_error=hear)
    with pytest.raises(RuntimeError, match="unexpected exception"):  # if not, we need this no more
        manager._actor_task_failed(tracked_actor_task=task, exception=error)
    with ray_private.errors_cost_one_worker():
        manager._actor_start_failed(tracked_actor=actor, exception=error)
        assert len(heard) == 1
        manager._actor_task_failed(tracked_actor_task=task, exception=error)
    assert len(heard) == 3
    for found in heard:
        assert isinstance(found, exceptions.RayActorError)
        assert fault_of(pickle.loads(pickle.dumps(found))) == fault_of(error)
    known = exceptions.ActorDiedError()
    with ray_private.errors_cost_one_worker():
        manager._actor_task_failed(tracked_actor_task=task, exception=known)
    assert heard[3:] == [known, known]
    with pytest.raises(RuntimeError):
        manager._actor_task_failed(tracked_actor_task=task, exception=error)


def test_the_process_of_a_worker(local_ray: Path) -> None:
    """`test_tune` ends the worker of a real trial by it."""

    class Waiting:  # workers cannot import tests
        def pid(self) -> int:
            return os.getpid()

    actor = ray.remote(num_cpus=0)(Waiting).remote()
    tracked = TrackedActor(1)
    manager = RayActorManager(SimpleNamespace())
    manager._live_actors_to_ray_actors_resources[tracked] = actor, None
    controller: Any = SimpleNamespace(_actor_manager=manager, _trial_to_actor={"a": tracked})
    there = ray.get_runtime_context().get_node_id(), ray.get(actor.pid.remote())
    assert ray_private.process_of(controller, "a") == there  # type: ignore[arg-type]
    assert ray_private.process_of(controller, "b") is None  # type: ignore[arg-type]


def test_the_file_with_a_trial_s_error(tmp_path: Path) -> None:
    """`test_tune` reads the error of a real trial."""
    metadata = SimpleNamespace(pickled_error_filename="error.pkl")
    failed = SimpleNamespace(local_path=str(tmp_path), run_metadata=metadata)
    found = Trial.pickled_error_file.fget(failed)
    assert found == str(tmp_path / "error.pkl")
    assert ray_private.error_file(SimpleNamespace(pickled_error_file=found)) == found
