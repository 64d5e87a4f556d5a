"""Workers that hang: one that says nothing for too long is ended, and its job begins again.

A worker reports when it begins a job, and after each epoch, or after some that are short. How
long an epoch takes depends on the images, the network and the machine, so the limit follows the
epochs that were heard of. A worker that has done a job and is given another counts as soon as it
is given it. A job that waits for resources, or for a process that starts, does not: so a new
process that is stopped before its first job is waited for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shiftsearch.search.executing.reports import EVERY

SILENT = 600.0
"""Seconds that a worker may always be silent, by default."""
FACTOR = 10.0
"""A worker may be silent for so many times the longest epoch of any job."""
UNKNOWN = 3600.0
"""Seconds that a worker may be silent before any job has reported an epoch."""
MOST = 5.0
"""Seconds that count at most from one look to the next: reports may wait for a driver that stood
still, so its time blames no worker."""

_SHORTEST = 5 * EVERY
"""Seconds that a worker may be silent at least: short epochs are reported together."""

Process = tuple[str, int]
"""Ray's id of a node, empty for this machine, and the number of a process there."""
_TAKING_OVER = 45.0
"""Seconds that a worker may be silent at least before it begins another job: Ray waits 30 s for
the one before to leave (`TUNE_FUNCTION_THREAD_TIMEOUT_S`, set in `search.executing.cluster`)."""
EndWorker = Callable[[str, int], None]


@dataclass
class _Worker:
    process: Process | None  # None before it has begun
    quiet: float = 0.0  # seconds


def _unknown(_: str) -> None:
    """No process is known."""


class Hanging:
    """Watches over the workers that have begun a job, or must.

    Args:
        least: seconds that a worker may always be silent.
        clock: returns the time in seconds.
        end: ends a worker; None: `end_worker`.
        find: the process of a worker that was given another job, by the id of Ray's trial; None
            if there is none any more.
    """

    def __init__(
        self,
        least: float = SILENT,
        clock: Callable[[], float] = time.monotonic,
        end: EndWorker | None = None,
        find: Callable[[str], Process | None] = _unknown,
    ) -> None:
        self._least, self._clock, self._end, self._find = least, clock, end, find
        self._workers = dict[str, _Worker]()  # by the id of Ray's trial
        self._longest: float | None = None  # seconds
        self._looked = clock()

    @property
    def limit(self) -> float:
        """Seconds that a worker may be silent now."""
        wanted = UNKNOWN if self._longest is None else FACTOR * self._longest
        return max(self._least, wanted, _SHORTEST)

    def hear(self, trial_id: str, report: Mapping[str, Any]) -> None:
        """A worker has reported; see `search.executing.trainable.run_job`."""
        if report.get("event") == "begun":
            new = _Worker((report["node_id"], report["pid"]))
            # A process has one job; that the one before has ended, Ray may tell late.
            self._workers = {k: w for k, w in self._workers.items() if w.process != new.process}
            self._workers[trial_id] = new
        worker = self._workers.get(trial_id)
        if worker is None:
            return
        if report.get("event") == "epoch":
            # Epochs that were found in the store come at once; their rows say what they took.
            took = max(worker.quiet, report["row"].get("seconds", 0.0))
            self._longest = max(self._longest or 0.0, took)
        worker.quiet = 0.0

    def given(self, trial_ids: Iterable[str]) -> None:
        """Workers that have done another job were given those of these trials."""
        for trial_id in trial_ids:
            self._workers.setdefault(trial_id, _Worker(None))

    def forget(self, trial_id: str) -> None:
        """Ray's trial has ended."""
        self._workers.pop(trial_id, None)

    def look(self) -> list[tuple[str, str]]:
        """End the workers that hang; called in every step of the driver.

        Returns:
            Ids of their trials, each with the reason in one line. A worker that nevertheless does
            not end is named again after as long a silence.
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, MOST), now
        found, limit = [], self.limit
        for trial_id, worker in self._workers.items():
            worker.quiet += passed
            if worker.quiet > (limit if worker.process else max(limit, _TAKING_OVER)):
                process = worker.process or self._find(trial_id)
                if process is None:  # Ray tells of its loss
                    continue
                (self._end or end_worker)(*process)
                reason = f"no report for {worker.quiet:.0f} s; the worker was ended"
                found.append((trial_id, f"{reason} (failures.silent_seconds is {self._least:g})"))
                worker.quiet = 0.0
        return found


def end_worker(node_id: str, pid: int) -> None:
    """Kill a worker's process, also one that was stopped; Ray then tells of its loss.

    Args:
        node_id: Ray's id of its node, where a task does it, which is not waited for; empty for
            this machine.
        pid: the number of its process there.
    """
    if not node_id:
        _kill(pid)
        return
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
    ray.remote(**options)(_kill).remote(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):  # it has ended
        os.kill(pid, signal.SIGKILL)
