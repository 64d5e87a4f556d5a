"""Resources of machines and of trials, and how many trials fit at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shiftsearch.model.device import available_cpus, available_gpus
from shiftsearch.model.limits import available_memory

_WORKER_BYTES = 0.75 * 2**30
"""Memory for each trial that runs: a worker held 0.5 GiB after 12 trials; Ray, the driver and the
images need the rest."""


DEFAULT_CPUS = 1.0
"""CPUs of a trial. Two trials with one thread each trained 2 x 2,025 images per second, against
3,885 for one trial with two threads. With a GPU, the CPU only feeds it."""


class ResourceError(ValueError):
    """The cluster lacks resources that a trial asks for; the message names both."""


class Node(NamedTuple):
    """The resources of one machine of the cluster.

    Attributes:
        cpus, gpus: numbers available for trials.
        memory: in bytes; infinite if unknown.
        node_id: Ray's; empty before Ray is connected.
    """

    cpus: float
    gpus: float
    memory: float = math.inf
    node_id: str = ""

    def trials(self, cpus: float, gpus: float) -> int:
        """How many trials fit at once; a share of a GPU lies on one GPU."""
        limits = [self.cpus / cpus]
        if 0 < gpus < 1:
            limits.append(int(self.gpus) * shares_on_one_gpu(gpus))
        elif gpus:
            limits.append(self.gpus / gpus)
        return int(min(limits) + 1e-9)


@dataclass(frozen=True)
class Resources:
    """The resources of a trial, and how many trials run at once.

    Attributes:
        cpus_per_trial, gpus_per_trial: may be fractions.
        concurrency: number of trials at once.
        reason: one line that explains the choice.
    """

    cpus_per_trial: float
    gpus_per_trial: float
    concurrency: int
    reason: str


def shares_on_one_gpu(share: float) -> int:
    """How many trials with this share of a GPU, in 0..1, fit on one."""
    return int(1 / share + 1e-9)


def this_machine() -> Node:
    """The resources of a local Ray."""
    return Node(available_cpus(), available_gpus(), available_memory())


def fit_resources(
    nodes: Sequence[Node],
    cpus: float | None,
    gpus: float | None,
    concurrency: int | None,
    jobs: int,
) -> Resources:
    """Choose the resources of a trial and the concurrency; None leaves a choice to this function.

    Args:
        nodes: the machines; a trial has to fit into one of them.
        cpus: per trial.
        gpus: per trial.
        concurrency: largest number of trials at once; None: as CPUs, GPUs and memory allow.
        jobs: number of jobs to do; more at once are never chosen.

    Raises:
        ResourceError: not even one trial fits.
    """
    all_cpus, all_gpus = sum(n.cpus for n in nodes), sum(n.gpus for n in nodes)
    gpus = (1.0 if all_gpus else 0.0) if gpus is None else gpus
    cpus = DEFAULT_CPUS if cpus is None else cpus
    fitting = in_memory = 0
    for node in nodes:
        here = node.trials(cpus, gpus)
        fitting += here
        in_memory += int(min(here, node.memory / _WORKER_BYTES))
    if fitting < 1:
        raise ResourceError(
            f"resources: a trial asks for {cpus:g} CPUs and {gpus:g} GPUs on one node, but there "
            f"are {all_cpus:g} CPUs and {all_gpus:g} GPUs on {len(nodes)}"
        )
    chosen = min(in_memory, jobs) if concurrency is None else min(concurrency, fitting)
    chosen = max(1, chosen)
    reason = (
        f"{chosen} trial{'s' * (chosen > 1)} at once: {cpus:g} CPU and {gpus:g} GPU each, of "
        f"{all_cpus:g} CPU and {all_gpus:g} GPU"
    )
    if concurrency is None and in_memory < min(fitting, jobs):
        memory = sum(n.memory for n in nodes) / 2**30
        reason += f"; {memory:.1f} GiB of memory allow no more"
    return Resources(cpus, gpus, chosen, reason)
