"""Checks, before a new run begins, that some configuration keeps the constraints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution

from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.experiments.definition import Experiment
from shiftsearch.model.costs import Meter
from shiftsearch.model.hyperparameters import Value
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
    """A line if no network keeps all bounds; the networks that most likely do come first."""
    limits = experiment.constraints

    def order(configuration: Mapping[str, Value]) -> tuple[float, float]:
        size = sizes(configuration)
        over = max(0.0, size["parameters"] - (limits.max_parameters or math.inf))
        return over, size["multiply_adds"]

    networks = itertools.islice(_networks(experiment.search_space()), _LOOKED_AT)
    refused = []
    for configuration in itertools.islice(sorted(networks, key=order), _MEASURED):
        costs = meter(configuration)
        if not limits.broken(costs):
            return []
        refused.append(costs)
    return [f"{limits.unreachable(refused)} (of the networks in the space)"]


def _broken_points(experiment: Experiment, meter: Meter) -> list[str]:
    return [
        f"points[{i}]: {broken}"
        for i, point in enumerate(experiment.checked_points())
        for broken in experiment.constraints.broken(meter(point))
    ]


def _networks(space: Space) -> Iterator[dict[str, Value]]:
    """Configurations with every network at the ends of the space's ranges.

    Only the ends, because a network's size grows along each range.
    """
    searched = {k: _ends(d) for k, d in space.distributions.items() if k.startswith(_NETWORK)}
    others = {k: _ends(d)[0] for k, d in space.distributions.items() if k not in searched}
    for values in itertools.product(*searched.values()):
        yield space.complete({**others, **dict(zip(searched, values, strict=True))})


def _ends(distribution: BaseDistribution) -> list[Value]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)  # type: ignore[arg-type]
    low: Value = distribution.low  # type: ignore[attr-defined]
    high: Value = distribution.high  # type: ignore[attr-defined]
    return [low, high]
