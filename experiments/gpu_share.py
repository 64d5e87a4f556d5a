"""`gpus_per_trial: auto`: measure the largest configurations on the GPUs, and choose a share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.costing import networks
from shiftsearch.experiments.sections import AUTO, ResourceRequest
from shiftsearch.model.costs import Meter
from shiftsearch.model.gpu_memory import Need
from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.executing.gpu_shares import share_for
from shiftsearch.search.executing.resources import DEFAULT_CPUS, Node
from shiftsearch.search.executing.trainable import WorkerContext
from shiftsearch.search.executing.trial_memory import Configurations, needs_of
from shiftsearch.search.proposing.domains import domain_values, value_at
from shiftsearch.search.proposing.space import Space

_MOST_NETWORKS = 512
_LARGE = (".batch_size", ".ema_decay")
_SMALL = ".frozen_layers"
"""Hyperparameters whose largest, and whose smallest, value takes most memory."""


def with_share(
    asked: ResourceRequest,
    space: Space,
    dataset: Dataset,
    nodes: Sequence[Node],
    context: WorkerContext,
    say: Callable[[str], None],
    measure: Callable[..., tuple[list[Need], list[str]]] = needs_of,
) -> ResourceRequest:
    """The request with `auto` replaced by a share; unchanged if it is a number or left out.

    Args:
        asked: what the experiment asks for.
        space: the search space.
        dataset: the run's dataset.
        nodes: the nodes of the connected cluster.
        context: of the run's workers.
        say: called with what is measured, and why the share was chosen.
        measure: measures the configurations on the nodes, see `trial_memory.needs_of`.

    Raises:
        search.executing.faults.EnvironmentFault: Ray was lost meanwhile.
    """
    if asked.gpus_per_trial != AUTO:
        return asked
    if not any(node.gpus >= 1 for node in nodes):
        return asked.model_copy(update={"gpus_per_trial": None})
    say("gpus_per_trial auto: measuring the memory of a trial on each GPU node")
    needs, problems = measure(context, largest(space, dataset), nodes)
    for problem in problems:
        say(f"warning: gpus_per_trial: {problem}")
    share, reason = share_for(needs, nodes, asked.cpus_per_trial or DEFAULT_CPUS)
    say(reason)
    return asked.model_copy(update={"gpus_per_trial": share})


def largest(space: Space, dataset: Dataset) -> Configurations:
    """The configurations of the space that take most memory on a GPU: one or two.

    Those of the network with most parameters and of the one with most multiply-adds, whose
    activations are largest; both with the largest batches, and nothing frozen.
    """
    meter = Meter(len(dataset.classes), dataset.image_size)
    greedy = _greedy(space)
    found = []
    for network in itertools.islice(networks(space), _MOST_NETWORKS):
        own = {k: v for k, v in network.items() if k.startswith("network.")}
        found.append(space.complete({**space.nearest_inside(space.reference), **own, **greedy}))
    sizes = [meter(configuration) for configuration in found]
    chosen = {
        max(range(len(found)), key=lambda i: sizes[i][cost])
        for cost in ("parameters", "multiply_adds")
    }
    return [found[i] for i in sorted(chosen)]


def _greedy(space: Space) -> dict[str, Value]:
    """Of the searched hyperparameters that decide the memory, the value that takes most."""
    values: dict[str, Value] = {}
    for name, domain in space.distributions.items():
        ends = domain_values(domain) or [value_at(domain, unit) for unit in (0.0, 1.0)]
        if name.endswith(_LARGE):
            values[name] = max(ends)
        elif name.endswith(_SMALL):
            values[name] = min(ends)
    return values
