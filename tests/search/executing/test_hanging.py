"""When a worker counts as hanging, and that it is ended also where it stands still."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import ray

from shiftsearch.search.executing.hanging import FACTOR, MOST, UNKNOWN, Hanging, end_worker
from tests.search.fake_trainable import is_dead, wait_for

pytestmark = pytest.mark.integration


class Watched:
    """Workers a and b of one job each, and a clock; `ended` holds those that were ended."""

    def __init__(self, least: float = 60.0) -> None:
        self.now, self.ended = 100.0, list[tuple[str, int]]()
        self.processes = dict[str, tuple[str, int]]()
        self.hanging = Hanging(
            least, lambda: self.now, lambda *who: self.ended.append(who), self.processes.get
        )
        for number, name in enumerate("ab"):
            self.hanging.hear(name, {"event": "begun", "node_id": "", "pid": number})

    def epoch(self, name: str, seconds: float = 0.0) -> None:
        row = {"epoch": 1.0, "seconds": seconds}
        self.hanging.hear(name, {"event": "epoch", "stage": "baseline", "row": row})

    def wait(self, seconds: float, step: float = 1.0) -> list[str]:
        """The workers that are found hanging meanwhile."""
        found, end = [], self.now + seconds
        while self.now < end:
            self.now += step
            found += [name for name, _ in self.hanging.look()]
        return found


def test_one_that_is_silent_for_too_long_is_ended_and_the_others_are_not() -> None:
    watched = Watched()
    watched.epoch("b")
    for _ in range(12):
        assert watched.wait(5) == []
        watched.epoch("b")
    assert watched.wait(1) == ["a"]
    assert watched.ended == [("", 0)]
    watched.hanging.forget("a")
    watched.hanging.forget("b")
    assert watched.wait(200) == []


def test_one_that_does_not_end_is_ended_again() -> None:
    watched = Watched()
    watched.epoch("b")
    watched.hanging.forget("b")
    assert watched.wait(3 * 60 + 10) == ["a"] * 3
    assert watched.ended == [("", 0)] * 3


@pytest.mark.parametrize("stored", [False, True], ids=["trained", "found in the store"])
def test_the_limit_follows_the_longest_epoch_of_any_job(stored: bool) -> None:
    """One from the store comes at once, and says what it took."""
    watched = Watched()
    assert watched.hanging.limit == UNKNOWN
    watched.wait(0 if stored else 20)
    watched.epoch("b", 20.0 if stored else 0.0)
    assert watched.hanging.limit == FACTOR * 20
    watched.epoch("b", 1.0)
    assert watched.hanging.limit == FACTOR * 20


def test_a_driver_that_stood_still_blames_nobody() -> None:
    watched = Watched()
    watched.epoch("b")
    assert watched.wait(3600, step=3600) == []
    assert watched.wait(60 - 2 * MOST) == []


def test_a_process_that_has_its_next_job_is_not_blamed_for_the_one_before() -> None:
    watched = Watched()
    watched.hanging.forget("b")
    watched.hanging.hear("c", {"event": "begun", "node_id": "", "pid": 0})  # the process of a
    for _ in range(30):
        watched.epoch("c")
        assert watched.wait(5) == []


def test_one_that_does_not_take_up_its_next_job_is_ended() -> None:
    watched = Watched()
    watched.epoch("b")
    for name in "ab":
        watched.hanging.forget(name)
    for _ in range(2):
        watched.hanging.given(["c"])
        assert watched.wait(59) == []
        watched.hanging.hear("c", {"event": "begun", "node_id": "", "pid": 1})
    watched.hanging.forget("c")
    watched.hanging.given(["d", "e"])
    watched.processes["e"] = "node", 7
    assert watched.wait(61) == ["e"]
    assert watched.ended == [("node", 7)]


def test_one_that_has_not_begun_does_not_count() -> None:
    watched = Watched()
    watched.epoch("b")
    watched.hanging.hear("c", {"event": "placed"})
    for name in "ab":
        watched.hanging.forget(name)
    assert watched.wait(7200) == []


@pytest.mark.parametrize("joined", [False, True])
def test_a_stopped_process_is_ended_here_and_by_a_task_on_its_node(
    local_ray: Path, joined: bool
) -> None:
    del local_ray

    class Still:  # workers cannot import tests
        def pid(self) -> int:
            return os.getpid()

    actor = ray.remote(num_cpus=0)(Still).remote()
    pid = ray.get(actor.pid.remote())
    os.kill(pid, signal.SIGSTOP)
    node_id = ray.get_runtime_context().get_node_id() if joined else ""
    end_worker(node_id, pid)
    wait_for(lambda: is_dead(pid))
    end_worker("", pid)  # has ended: no error
