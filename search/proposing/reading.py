"""Read a search space from an experiment file: values, ranges, choices and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from shiftsearch.model.frozen import Condition
from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing.conditions import Circle, Conditions, joined
from shiftsearch.search.proposing.domains import contains, describe, domain_values
from shiftsearch.search.proposing.fields import Fields, nearest

_RANGE_KEYS = ("low", "high", "log", "step", "choices", "when")
_FEW = 100


@dataclass
class Read:
    """The parts of a space.

    Attributes:
        distributions: distributions of the searched hyperparameters, in declared order.
        fixed: values of the fixed hyperparameters.
        conditions: by name, when a hyperparameter exists.
        problems: one line each, with the key's path below the space.
    """

    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    fixed: dict[str, Value] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(raw: Mapping[str, Any], fields: Fields) -> Read:
    """Read a space from nested or dotted names; see `search.proposing.space.Space.parse`."""
    found = Read()
    conditions: dict[str, Any] = {}
    for name, leaf in fields.leaves(raw, _RANGE_KEYS):
        try:
            fields.check(name)
            if name in found.distributions or name in found.fixed:
                raise ValueError("is given twice, nested and dotted")
            if isinstance(leaf, Mapping):
                found.distributions[name] = _distribution(name, leaf, fields)
                if "when" in leaf:
                    conditions[name] = leaf["when"]
            else:
                found.fixed[name] = fields.value(name, leaf)
        except ValueError as error:
            found.problems.append(f"{name}: {error}")
    searched = found.distributions
    found.distributions = {name: searched[name] for name in fields.defaults if name in searched}
    if not found.problems:
        _Conditions(found, fields).read(conditions)
    return found


class _Conditions:
    """Reads conditions, once domains and fixed values are known."""

    def __init__(self, found: Read, fields: Fields) -> None:
        self._found, self._fields = found, fields
        self._constant = {
            k: v
            for k, v in {**fields.defaults, **found.fixed}.items()
            if k not in found.distributions
        }

    def read(self, conditions: Mapping[str, Any]) -> None:
        """Add the conditions and their problems to what was read."""
        for name, raw in conditions.items():
            self._found.conditions[name] = self._condition(name, raw)
        if not self._found.problems:
            self._check_together()

    def _condition(self, name: str, raw: object) -> Condition:
        if not isinstance(raw, Mapping) or not raw:
            self._refuse(f"{name}.when", f"is {raw!r}, but must map names to values")
            return {}
        condition: dict[str, tuple[Value, ...]] = {}
        for key, given in raw.items():
            try:
                other = self._named(name, str(key))
                values = given if isinstance(given, list) else [given]
                condition[other] = tuple(self._value(other, value) for value in values)
                self._check_other(name, other, condition[other])
            except ValueError as error:
                self._refuse(f"{name}.when.{key}", str(error))
        return condition

    def _named(self, name: str, key: str) -> str:
        """The dotted name of a hyperparameter that is given by its full name or as a sibling."""
        sibling = f"{name.rpartition('.')[0]}.{key}".removeprefix(".")
        if sibling in self._fields.defaults:
            return sibling
        self._fields.check(key)
        return key

    def _value(self, other: str, raw: object) -> Value:
        value = self._fields.value(other, raw)
        domain = self._found.distributions.get(other)
        if domain is None:
            return value
        if not self._has_values(other):
            raise ValueError("is drawn from a range; a condition needs choices or steps")
        if not contains(domain, value):
            raise ValueError(f"{value!r} is not among its values, {describe(domain)}")
        return value

    def _check_other(self, name: str, other: str, values: tuple[Value, ...]) -> None:
        if not values:
            raise ValueError("is [], but must be a value or a list that is not empty")
        if other in self._constant and self._constant[other] not in values:
            raise ValueError(f"is fixed at {self._constant[other]!r}, so {name} would never exist")
        if other.startswith("fine_tune.") and not name.startswith("fine_tune."):
            raise ValueError("belongs to the fine-tune, which comes after the baseline")

    def _check_together(self) -> None:
        """Refuse circles and names that can never exist; the class's conditions count too."""
        declared = self._fields.conditions
        try:
            conditions = Conditions(joined(declared, self._found.conditions))
        except Circle as circle:
            self._refuse(f"{circle.names[0]}.when", str(circle))
            return
        for name in (*self._found.distributions, *self._found.fixed):
            for other, values in conditions.of(name).items():
                if not any(self._is_possible(other, value) for value in values):
                    domain = self._found.distributions.get(other)
                    has = repr(self._constant[other]) if domain is None else describe(domain)
                    rule = f"can never exist: it needs {other}: {' or '.join(map(repr, values))}"
                    rule += f", but the space has {has}"
                    if not self._has_values(other):
                        rule += "; a condition needs choices or steps, not a range"
                    self._refuse(name, rule)

    def _is_possible(self, name: str, value: Value) -> bool:
        if name in self._constant:
            return self._constant[name] == value
        return self._has_values(name) and contains(self._found.distributions[name], value)

    def _has_values(self, name: str) -> bool:
        """Whether each of its values has a chance: it is fixed, or has choices or steps."""
        domain = self._found.distributions.get(name)
        return domain is None or domain_values(domain) is not None

    def _refuse(self, key: str, problem: str) -> None:
        self._found.problems.append(f"{key}: {problem}")


def _distribution(name: str, raw: Mapping[str, Any], fields: Fields) -> BaseDistribution:
    unknown = [key for key in raw if key not in _RANGE_KEYS]
    if unknown:
        rule = f"a range has {', '.join(_RANGE_KEYS)}{nearest(str(unknown[0]), _RANGE_KEYS)}"
        raise ValueError(f"key {unknown[0]!r} is unknown; {rule}")
    if "choices" in raw:
        return _choices(name, raw, fields)
    if isinstance(fields.defaults[name], str | bool):
        raise ValueError("has choices, but no range: it is not a number")
    missing = [key for key in ("low", "high") if key not in raw]
    if missing:
        raise ValueError(f"a range needs low and high; {' and '.join(missing)} is missing")
    found = _range(fields.value(name, raw["low"]), fields.value(name, raw["high"]), raw)
    if isinstance(found, IntDistribution) and found.high - found.low <= _FEW:
        for value in range(found.low, found.high + 1, found.step):
            fields.value(name, value)  # some fields have gaps between their ends
    return found


def _range(low: Any, high: Any, raw: Mapping[str, Any]) -> BaseDistribution:
    log, step = raw.get("log", False), raw.get("step")
    if not isinstance(log, bool):
        raise ValueError(f"log is {log!r}, but must be true or false")
    if low >= high:
        raise ValueError(f"low {low!r} must be below high {high!r}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")
    if log and low <= 0:
        raise ValueError(f"low is {low!r}, but must be above 0 with log")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float)):
        raise ValueError(f"step is {step!r}, but must be a number")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"step is {step!r}, but must be above 0 and at most {high - low:g}")
    if isinstance(low, float):
        return FloatDistribution(low, high, log=log, step=step)
    if step is not None and step != int(step):
        raise ValueError(f"step is {step!r}, but must be a whole number")
    return IntDistribution(low, high, log=log, step=int(step or 1))


def _choices(name: str, raw: Mapping[str, Any], fields: Fields) -> BaseDistribution:
    if raw.keys() - {"choices", "when"}:
        raise ValueError("choices exclude low, high, log and step")
    choices = raw["choices"]
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"choices is {choices!r}, but must be a list that is not empty")
    values = [fields.value(name, choice) for choice in choices]
    if len(set(values)) < len(values):
        raise ValueError(f"choices {choices!r} holds a value twice")
    return CategoricalDistribution(values)
