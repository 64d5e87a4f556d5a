"""Checks, before a new run begins, that some configuration keeps the constraints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from optuna.distributions import BaseDistribution

from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.experiments.definition import Experiment
from shiftsearch.model.costs import Meter
from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing.domains import domain_values, value_at
from shiftsearch.search.proposing.space import Space

_NETWORK = "network."
_LOOKED_AT, _MEASURED = 512, 32
"""The most networks whose size, and whose latency, is looked at before a search."""


def meter_for(experiment: Experiment, dataset: Dataset, *, begun: bool) -> Meter:
    """Finds the costs of the experiment's configurations on this dataset.

    Args:
        experiment: the experiment.
        dataset: the dataset.
        begun: whether the run has begun; then its constraints are not checked again, because a
            latency measured now may differ.

    Raises:
        data.dataset.DataError: a line for each problem of a new run: no network of the space keeps
            the constraints, or a point breaks one.
    """
    classes, size = len(dataset.classes), dataset.image_size
    meter = Meter(classes, size, times=experiment.times_networks)
    if experiment.constraints.bounds and not begun:
        problems = _unreachable(experiment, meter, Meter(classes, size))
        problems = problems or _broken_points(experiment, meter)
        if problems:
            raise DataError(problems)
    return meter


def _unreachable(experiment: Experiment, meter: Meter, sizes: Meter) -> list[str]:
    """A line if no network keeps all bounds; empty, too, if the space has too many to tell."""
    limits = experiment.constraints

    def order(configuration: Mapping[str, Value]) -> tuple[float, float]:
        size = sizes(configuration)
        over = max(0.0, size["parameters"] - (limits.max_parameters or math.inf))
        return over, size["multiply_adds"]

    found = list(itertools.islice(networks(experiment.search_space()), _LOOKED_AT + 1))
    if len(found) > _LOOKED_AT:
        return []
    found.sort(key=order)  # the most likely to keep the bounds first
    refused = []
    for configuration in found[:_MEASURED]:
        costs = meter(configuration)
        if not limits.broken(costs):
            return []
        refused.append(costs)
    if len(found) > _MEASURED and order(found[0])[0] == 0:
        return []
    return [f"{limits.unreachable(refused)} (of the networks in the space)"]


def _broken_points(experiment: Experiment, meter: Meter) -> list[str]:
    return [
        f"points[{i}]: {broken}"
        for i, point in enumerate(experiment.checked_points())
        for broken in experiment.constraints.broken(meter(point))
    ]


def networks(space: Space) -> Iterator[dict[str, Value]]:
    """A configuration with each network of the space; of continuous ranges only the ends.

    Parameters and time grow along a continuous range, such as a factor of the width. They need not
    grow along a whole number: a deeper network may have fewer parameters.
    """
    searched = {k: _values(d) for k, d in space.distributions.items() if k.startswith(_NETWORK)}
    others = {k: _values(d)[0] for k, d in space.distributions.items() if k not in searched}
    seen = set()
    for values in itertools.product(*searched.values()):
        found = space.complete({**others, **dict(zip(searched, values, strict=True))})
        network = tuple((k, v) for k, v in found.items() if k.startswith(_NETWORK))
        if network not in seen:
            seen.add(network)
            yield found


def _values(distribution: BaseDistribution) -> Sequence[Value]:
    ends = (0.0, 1.0)
    return domain_values(distribution) or [value_at(distribution, unit) for unit in ends]
