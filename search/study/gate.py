"""The gate before training: notes what a trial's network costs, and checks it against the bounds.

Costs are attributes of a trial, and measured latencies an attribute of the study. So a continued
search decides as before, also on another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.study.goals import Limits
from shiftsearch.search.study.stored_study import StoredStudy


class CostMeter(Protocol):
    """Finds what a configuration's network costs, see `model.costs.Meter`.

    Attributes:
        latencies: measured latencies as JSON values, by key of the architecture.
    """

    latencies: dict[str, dict[str, float | str]]

    def __call__(self, configuration: Mapping[str, Value]) -> dict[str, float]:
        """The costs by name."""


class Gate:
    """Lets a trial be trained, or not.

    Args:
        stored: the study.
        limits: bounds on the costs.
        meter: finds costs; None: they are unknown, and every trial may be trained.
    """

    def __init__(self, stored: StoredStudy, limits: Limits, meter: CostMeter | None) -> None:
        self._stored, self._limits, self._meter = stored, limits, meter
        if meter is not None:
            meter.latencies |= stored.attribute("latencies") or {}

    def refuses(self, number: int) -> bool:
        """Note an open trial's costs; returns whether it breaks a bound, and then notes which.

        The reference configuration is never refused.
        """
        record = self._stored.records[number]
        costs = record.costs
        if not costs and self._meter is not None:
            costs = self._costs(record.configuration)
            self._stored.set(number, "costs", costs)
        if not costs or not self._limits.bounds:
            return False
        self._stored.constrain(number, self._limits.excess(costs))
        broken = self._limits.broken(costs)
        if not broken or record.role == "reference":
            return False
        self._stored.set(number, "reason", "; ".join(broken))
        return True

    def broken(self, configuration: Mapping[str, Value]) -> list[str]:
        """A line for each bound that a configuration breaks."""
        if self._meter is None or not self._limits.bounds:
            return []
        return self._limits.broken(self._costs(configuration))

    @property
    def machines(self) -> list[str]:
        """The processors that measured latencies."""
        measured = self._stored.attribute("latencies") or {}
        return sorted({str(latency["machine"]) for latency in measured.values()})

    def _costs(self, configuration: Mapping[str, Value]) -> dict[str, float]:
        assert self._meter is not None
        costs = self._meter(configuration)
        if self._meter.latencies and self._meter.latencies != self._stored.attribute("latencies"):
            self._stored.note("latencies", dict(self._meter.latencies))
        return costs
