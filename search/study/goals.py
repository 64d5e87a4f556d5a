"""What a search aims at besides accuracy: bounds on a network's costs, and further objectives.

A configuration that breaks a bound is refused before it is trained. The reference configuration is
the comparison of every search; it is trained even if it breaks a bound, but then it cannot win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

COSTS: Mapping[str, str] = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "latency_ms": "ms for one image",
}
"""Costs of a network, with their units; as objectives they are minimised."""

MOST_REFUSALS = 100
"""Configurations refused in a row after which no more are asked for."""

_LEARNING_FROM_REFUSED = ("tpe", "tpe-univariate", "tpe-joint", "qmc", "random")


class Limits(BaseModel):
    """Bounds on a network's costs; the key `constraints` of an experiment file. None: no bound."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    max_parameters: Annotated[int, Field(ge=1)] | None = None
    """Weights and biases of the network, and its batch normalisations' factors."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Milliseconds for one image, see `model.latency`; it depends on the machine."""

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by the name of the cost."""
        given = {name.removeprefix("max_"): value for name, value in self.model_dump().items()}
        return {name: value for name, value in given.items() if value is not None}

    def excess(self, costs: Mapping[str, float]) -> dict[str, float]:
        """By how much of each bound the costs exceed it; at most 0 if the bound is kept."""
        return {f"max_{name}": costs[name] / most - 1 for name, most in self.bounds.items()}

    def broken(self, costs: Mapping[str, float]) -> list[str]:
        """A line for each bound that the costs break."""
        return [
            f"has {costs[name]:,} {COSTS[name]}, but constraints.max_{name} is {most:,}"
            for name, most in self.bounds.items()
            if costs[name] > most
        ]

    def unreachable(self, refused: Sequence[Mapping[str, float]]) -> str:
        """Why nothing is left: the bounds that all refused costs break, with the least cost seen.

        Args:
            refused: costs of configurations, at least one, each of which breaks a bound.
        """
        bounds = self.bounds
        least = {name: min(costs[name] for costs in refused) for name in bounds}
        lines = [
            f"constraints.max_{name}: {most:,}, but the least is {least[name]:,} {COSTS[name]}"
            for name, most in bounds.items()
            if least[name] > most
        ]
        if lines:
            return "; ".join(lines)
        values = " and ".join(f"{value:,} {COSTS[name]}" for name, value in least.items())
        return f"constraints: none keeps all of them, although the least are {values}"


def problems(
    objectives: Sequence[str], column: str, limits: Limits, sampler: str, rungs: Sequence[int]
) -> list[str]:
    """One line for each setting that does not go together with the others.

    Args:
        objectives: empty, or the objective's column and then costs.
        column: the objective's column.
        limits: bounds on the costs.
        sampler: name of the sampler.
        rungs: the policy's rungs.
    """
    found, costs = [], objectives[1:]
    is_known = not objectives or (objectives[0] == column and costs and set(costs) <= set(COSTS))
    if not is_known or len(set(costs)) < len(costs):
        found.append(
            f"objectives: {list(objectives)}, but must be {column} and then any of "
            f"{', '.join(COSTS)}, each once"
        )
    if costs and rungs:
        found.append(
            f"policy.rungs: {list(rungs)}, but must be empty with several objectives, because "
            "trials are stopped by the first alone"
        )
    if (limits.bounds or costs) and sampler not in _LEARNING_FROM_REFUSED:
        names = ", ".join(name for name in _LEARNING_FROM_REFUSED if not name.endswith("-joint"))
        found.append(
            f"sampler: {sampler!r}, but must be one of {names} with constraints or several "
            "objectives"
        )
    return found
