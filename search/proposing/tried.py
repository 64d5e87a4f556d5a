"""The configurations of a space: which were tried, and, where it is finite, all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from shiftsearch.search.proposing.conditions import Conditions
from shiftsearch.search.proposing.domains import domain_values


class Tried:
    """The configurations that were tried; `values in tried` asks for one.

    Args:
        space: what is searched. Hyperparameters with a single value are not compared.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = {k: d for k, d in space.items() if not d.single()}
        self._places: set[tuple[Any, ...]] = set()

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a trial's values; call it again when the trial has more of them."""
        self._places.add(self._place(values))

    def __contains__(self, values: Mapping[str, Any]) -> bool:
        return self._place(values) in self._places

    def _place(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Equal for equal configurations. Steps are counted, because 3 * 0.1 is not 0.3."""
        return tuple(
            round((values[k] - d.low) / d.step)
            if k in values and isinstance(d, FloatDistribution) and d.step is not None
            else values.get(k)
            for k, d in self._space.items()
        )


def every_configuration(
    space: Mapping[str, BaseDistribution], given: Mapping[str, Any], conditions: Conditions
) -> Iterator[dict[str, Any]]:
    """Every configuration with the given values; none when the space is not finite.

    Args:
        space: what is searched.
        given: hyperparameters of the space whose values are fixed.
        conditions: decide which hyperparameters exist beside which values.
    """
    domains = {k: [given[k]] if k in given else domain_values(d) for k, d in space.items()}
    finite = {k: domain for k, domain in domains.items() if domain is not None}
    if len(finite) == len(domains):
        yield from _each(conditions.ordered(list(finite)), finite, {}, conditions)


def _each(
    names: Sequence[str],
    domains: Mapping[str, Sequence[Any]],
    values: dict[str, Any],
    conditions: Conditions,
) -> Iterator[dict[str, Any]]:
    """Every way to give `names` values beside those that are given already."""
    if not names:
        yield values
        return
    name, *rest = names
    if not conditions.exists(name, values):
        yield from _each(rest, domains, values, conditions)
        return
    for value in domains[name]:
        yield from _each(rest, domains, {**values, name: value}, conditions)
