"""Measures, on each kind of GPU of the cluster, the memory that one trial takes."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.gpu_memory import Need, measured
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule, Value
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store
from shiftsearch.search.executing.faults import EnvironmentFault, fault_of
from shiftsearch.search.executing.resources import Node
from shiftsearch.search.executing.trainable import WorkerContext, workbench
from shiftsearch.search.executing.watch import RayLost, check_alive

LIMIT = 300.0
"""Seconds in which a GPU must answer; others may use it."""
_STEP = 0.5

Configurations = Sequence[Mapping[str, Value]]


def memory_of(context: WorkerContext, configurations: Configurations) -> Need:
    """The memory of a trial of any of these configurations on this process's GPU.

    Each is put through the protocol with one epoch a stage, in a store of its own.

    Args:
        context: of a worker that has a whole GPU.
        configurations: full and canonical.
    """
    once = Schedule(max_epochs=1)
    protocol = Protocol.model_validate_json(context.protocol)
    # Folds repeat the fine-tune, and take no more memory.
    protocol = protocol.model_copy(update={"baseline": once, "fine_tune": once, "folds": 1})
    device, data = workbench(replace(context, protocol=protocol.model_dump_json()))

    def train() -> None:
        for values in configurations:
            with tempfile.TemporaryDirectory() as folder:
                chosen, store = Hyperparameters.from_flat(values), open_store(folder)
                run = ProtocolRun(chosen, data, protocol, store, device, seed=context.seed)
                with contextlib.suppress(TrialDiverged):  # it has taken the memory
                    run_protocol(run)

    return measured(train)


def needs_of(
    context: WorkerContext,
    configurations: Configurations,
    nodes: Sequence[Node],
    task: Callable[[WorkerContext, Configurations], Need] = memory_of,
    limit: float = LIMIT,
) -> tuple[list[Need], list[str]]:
    """What a trial takes, measured on one GPU of each node that has one.

    Args:
        context: of a worker.
        configurations: those that take most.
        nodes: the nodes of the connected cluster.
        task: measures on a worker.
        limit: seconds to wait for all answers.

    Returns:
        The needs, and one line for each node that gave none.

    Raises:
        EnvironmentFault: Ray was lost meanwhile.
    """
    remote = ray.remote(num_cpus=context.cpus, num_gpus=1, max_calls=1, max_retries=0)(task)
    asked: dict[Any, str] = {}
    for node in nodes:
        if node.gpus >= 1:
            there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            arguments = replace(context, gpus=1.0), [dict(c) for c in configurations]
            asked[remote.options(scheduling_strategy=there).remote(*arguments)] = node.node_id
    try:
        late = _wait(list(asked), limit)
    except RayLost as lost:
        raise EnvironmentFault(str(lost)) from None
    needs, problems = list[Need](), list[str]()
    for reference, node_id in asked.items():
        if reference in late:
            ray.cancel(reference, force=True)
            problems.append(f"node {node_id[:6]}: no GPU was free within {limit:g} s")
            continue
        try:
            needs.append(ray.get(reference))
        except RayError as error:
            problems.append(f"node {node_id[:6]}: {fault_of(error).reason}")
    return needs, problems


def _wait(asked: list[Any], limit: float) -> list[Any]:
    """Wait for the answers; returns those that are missing after `limit` seconds."""
    end = time.monotonic() + limit
    late = asked
    while late and time.monotonic() < end:
        check_alive()
        _, late = ray.wait(late, num_returns=len(late), timeout=_STEP)
    return list(late)
