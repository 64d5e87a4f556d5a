"""Shares of a GPU: how many trials fit on one, by the memory that one trial takes.

A share is 1 / k of a GPU, and a trial's share lies on one GPU. Ray keeps four decimals.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from shiftsearch.model.gpu_memory import Need
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.resources import Node, shares_on_one_gpu

MARGIN = 1.25
"""Factor of the measured tensors: configurations and splitting of memory differ."""
_DECIMALS = 10_000
_GIB = 2**30


def part(count: int) -> float:
    """The share of each of `count` trials on one GPU."""
    return math.floor(_DECIMALS / count) / _DECIMALS


def larger(share: float) -> float | None:
    """The share with which a trial that ran out of memory is tried again; None after a whole GPU.

    Half as many trials fit on the GPU then.
    """
    return None if share >= 1 else part(max(1, shares_on_one_gpu(share) // 2))


def share_for(needs: Sequence[Need], nodes: Sequence[Node], cpus: float) -> tuple[float, str]:
    """The share of a trial, and one line with the reason.

    Args:
        needs: of one trial, measured on each kind of GPU; none if it could not be measured.
        nodes: the machines; those without a GPU do not count.
        cpus: of a trial.
    """
    if not needs:
        return 1.0, "gpus_per_trial: a whole GPU, as the memory of a trial could not be measured"
    need = max(needs, key=lambda n: (n.tensors * MARGIN + n.context) / n.total)
    takes = int(need.tensors * MARGIN) + need.context
    in_memory = max(1, need.total // takes)
    served = [int(node.cpus / cpus / node.gpus + 1e-9) for node in nodes if node.gpus]
    count = max(1, min(in_memory, max(served, default=1), _DECIMALS))
    reason = (
        f"gpus_per_trial {part(count):g}: the largest configuration takes {takes / _GIB:.1f} of "
        f"{need.total / _GIB:.1f} GiB"
    )
    if count < in_memory:
        reason += f", and the CPUs serve no more than {count} on a GPU"
    return part(count), reason


class Enlarged:
    """Jobs that ran out of a GPU's memory, and their larger shares.

    That a share was too small says nothing about the configuration, so the job is tried again
    with a larger one, and stays open in its source meanwhile. While it waits for a GPU, no other
    job may begin: small ones would take each part of a GPU that becomes free.

    Args:
        share: of a GPU, that each job has at first; 0 without GPUs.
    """

    def __init__(self, share: float) -> None:
        self._first = share
        self._shares = dict[str, float]()  # by the job's name
        self._again = deque[Job]()
        self._waiting = set[str]()  # ids of Ray's trials that no worker has begun

    def share(self, job: Job) -> float:
        """The job's share now."""
        return self._shares.get(job.name, self._first)

    def grow(self, job: Job) -> bool:
        """Enlarge the share of a job that ran out of memory; False if it had a whole GPU."""
        share = larger(self.share(job)) if self._first else None
        if share is None:
            return False
        self._shares[job.name] = share
        self._again.append(job)
        return True

    def has_room(self, running: Sequence[Job], most: int) -> bool:
        """Whether a job may begin.

        Args:
            running: jobs that were handed out and have not ended.
            most: number of jobs at once, of the first share.
        """
        if self._waiting:
            return False
        taken = sum(map(self._size, running)) if self._shares else len(running)
        wanted = self._size(self._again[0]) if self._again else 1.0
        return not running or taken + wanted <= most + 1e-9

    def next(self) -> Job | None:
        """The next job that is tried again."""
        return self._again.popleft() if self._again else None

    def started(self, trial_id: str, job: Job) -> None:
        """Ray's trial was given the job."""
        if job.name in self._shares:
            self._waiting.add(trial_id)

    def begun(self, trial_id: str) -> None:
        """A worker has begun Ray's trial, or will not."""
        self._waiting.discard(trial_id)

    def _size(self, job: Job) -> float:
        """How many jobs of the first share it takes the place of."""
        return self._shares[job.name] / self._first if job.name in self._shares else 1.0
