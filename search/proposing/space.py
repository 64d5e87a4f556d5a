"""The search space: the domains of searched hyperparameters and the values of all others.

A configuration is the flat dictionary of all hyperparameters that exist (`model.hyperparameters`),
in canonical form: declared type, on the step's grid. Only canonical configurations are hashed,
compared and trained, because equal values of other types or roundings give other content keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from shiftsearch.data.problems import ProblemsError
from shiftsearch.model.frozen import Condition
from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing import reading
from shiftsearch.search.proposing.conditions import Conditions, joined
from shiftsearch.search.proposing.domains import (
    contains,
    describe,
    domain_values,
    nearest_value,
    on_grid,
)
from shiftsearch.search.proposing.fields import Fields

FIELDS = Fields()
"""The fields of the product's hyperparameters."""

REFERENCE: Mapping[str, Value] = FIELDS.reference
"""The reference configuration."""


class SpaceError(ProblemsError):
    """The space, or a point of it, is wrong; `problems` has one line each."""


class Space:
    """Searched hyperparameters with their distributions, and the fixed values of the others.

    Args:
        distributions: distributions of the searched hyperparameters, by dotted name, in declared
            order.
        fixed: values of others; the rest has the values of the reference configuration.
        conditions: when hyperparameters exist, in addition to the class's own conditions.
        fields: the fields of the class of hyperparameters.

    Attributes:
        distributions: as given.
        fixed: values of all others that can exist and are not neutral.
        reference: the reference configuration; values outside their domains are kept.
        conditions: the given conditions and those that the class declares.
        drawn_conditions: conditions of the searched ones that name only searched ones.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        fixed: Mapping[str, Value],
        conditions: Mapping[str, Condition] | None = None,
        fields: Fields = FIELDS,
    ) -> None:
        self._fields, defaults = fields, fields.defaults
        self.conditions = Conditions(joined(fields.conditions, conditions or {}))
        self.distributions = dict(distributions)
        constant = {k: v for k, v in {**defaults, **fixed}.items() if k not in distributions}
        self._constant = constant
        self.fixed = self._named({k: v for k, v in constant.items() if self._is_possible(k)})
        self.reference: Mapping[str, Value] = self._named(self.conditions.existing(defaults))
        self._order = self.conditions.ordered(list(self.distributions))
        single = [name for name, d in self.distributions.items() if d.single()]
        self.drawn_conditions = self.conditions.without([*constant, *single])

    def _is_possible(self, name: str) -> bool:
        """Whether the name can exist with the fixed values of the others."""
        given = self._constant
        return all(o not in given or given[o] in v for o, v in self.conditions.of(name).items())

    def _named(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The values without those that are neutral and not searched (`model.frozen.Neutral`)."""
        neutral = self._fields.neutral.items()
        return {
            k: v for k, v in values.items() if k in self.distributions or (k, v) not in neutral
        }

    @classmethod
    def parse(cls, raw: Mapping[str, Any], path: str = "space", fields: Fields = FIELDS) -> Self:
        """Read a space from nested mappings whose leaves are a fixed value, a range or choices.

        A range is `{low, high}`, optionally with `log: true` or `step`; choices are
        `{choices: [...]}`. With `when: {name: value or list of values}` it exists only then.

        Raises:
            SpaceError: one line per problem, with the key's path and the nearest valid name.
        """
        found = reading.read(raw, fields)
        if found.problems:
            raise SpaceError([f"{path}.{problem}" for problem in found.problems])
        return cls(found.distributions, found.fixed, found.conditions, fields)

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """The full canonical configuration of a trial; draws the values that the trial lacks."""
        drawn: dict[str, Value] = {}
        for name in self._order:
            distribution = self.distributions[name]
            if not self.conditions.exists(name, {**self._constant, **drawn}):
                continue
            if isinstance(distribution, CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, distribution.choices)  # type: ignore[assignment]
            elif isinstance(distribution, IntDistribution):
                d = distribution
                drawn[name] = trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
            elif isinstance(distribution, FloatDistribution):
                f = distribution
                drawn[name] = trial.suggest_float(name, f.low, f.high, step=f.step, log=f.log)
        return self.complete(drawn)

    def is_drawn(self, values: Mapping[str, Any]) -> bool:
        """Whether the values have every searched hyperparameter that exists beside them."""
        beside = {**self._constant, **values}
        return all(k in values or not self.conditions.exists(k, beside) for k in self._order)

    def complete(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Canonical full configuration: `values`, then fixed values, then reference values.

        Values that do not exist beside the others, or are fixed and neutral, are left out.
        """
        full = {**self._fields.defaults, **self._constant, **values}
        found = self._named(self.conditions.existing(full))
        return {name: self._canonical(name, value) for name, value in found.items()}

    def branch(
        self, drawn: Mapping[str, Value], baseline: Mapping[str, Value]
    ) -> dict[str, Value]:
        """The fine-tune of a drawn configuration on another configuration's baseline.

        Args:
            drawn: full and canonical.
            baseline: all baseline hyperparameters of a configuration that may lie outside the
                space, without neutral values.

        Returns:
            A full configuration, without values that do not exist beside this baseline.
        """
        own = {name: value for name, value in drawn.items() if name.startswith("fine_tune.")}
        merged = {**baseline, **own}
        full = {**self._fields.defaults, **merged}
        return {k: v for k, v in full.items() if k in merged and self.conditions.exists(k, full)}

    def point(
        self, raw: Mapping[str, Any], path: str, base: Mapping[str, Value] | None = None
    ) -> dict[str, Value]:
        """A known-good point, checked against the space; missing values are the reference's.

        Args:
            raw: nested or dotted names to values.
            path: names the point in problems.
            base: a configuration that supplies the missing values in place of the reference;
                values that do not exist beside the point are dropped.

        Raises:
            SpaceError: unknown name, wrong type, value outside its domain or not the fixed one.
        """
        problems: list[str] = []
        values: dict[str, Value] = {}
        for name, leaf in self._fields.leaves(raw):
            try:
                self._fields.check(name)
                values[name] = self._fields.value(name, leaf)
            except ValueError as error:
                problems.append(f"{path}.{name}: {error}")
        full = {**self._fields.defaults, **self._constant, **(base or {}), **values}
        for name, value in full.items():
            if not self.conditions.exists(name, full):
                if name in values:
                    rule = self.conditions.describe(name).removeprefix(", ")
                    problems.append(f"{path}.{name}: {value!r}, but it exists only {rule}")
            elif name in self.distributions and not self.contains(name, value):
                problems.append(
                    f"{path}.{name}: {value!r} is outside the space, "
                    f"{describe(self.distributions[name])}"
                )
            elif name in self._constant and value != self._constant[name]:
                problems.append(
                    f"{path}.{name}: {value!r}, but the space fixes it at {self._constant[name]!r}"
                )
        if problems:
            raise SpaceError(problems)
        return self.complete({**(base or {}), **values})

    def contains(self, name: str, value: Value) -> bool:
        """Whether a searched hyperparameter may take the value, steps included."""
        return contains(self.distributions[name], value)

    def nearest_inside(self, configuration: Mapping[str, Value]) -> dict[str, Value]:
        """Values of the searched hyperparameters; those outside their domains are moved inside.

        The study records these for the reference configuration, which is trained unchanged even
        if the space does not contain it.
        """
        inside: dict[str, Value] = {}
        for name in self._order:
            if self.conditions.exists(name, {**self._constant, **inside}):
                value = configuration.get(name, self._fields.defaults[name])
                inside[name] = self._canonical(
                    name, nearest_value(self.distributions[name], value)
                )
        return inside

    def fine_tunes(self) -> float:
        """How many different fine-tunes one baseline can have; infinite with a continuous range.

        If that depends on the baseline, the fewest.
        """
        return self._count([n for n in self._order if n.startswith("fine_tune.")], self._constant)

    def _count(self, names: Sequence[str], values: Mapping[str, Value]) -> float:
        """The number of settings of the names, in the order of drawing, beside the values."""
        if not names:
            return 1
        name, *rest = names
        decides = {n for o in names for n in self.conditions.of(o) if n not in values}
        of_baseline = sorted(n for n in decides if not n.startswith("fine_tune."))
        for other in of_baseline[:1]:
            domain = domain_values(self.distributions[other]) or ()
            return min(self._count(names, {**values, other: value}) for value in domain)
        if not self.conditions.exists(name, values):
            return self._count(rest, values)
        domain = domain_values(self.distributions[name]) or ()
        if name in decides:
            return sum(self._count(rest, {**values, name: value}) for value in domain)
        return (len(domain) or math.inf) * self._count(rest, values)

    def describe(self) -> dict[str, str]:
        """By name, the domain or fixed value as short text; part of a run's identity.

        Hyperparameters that cannot exist, or are fixed at a neutral value, are left out.
        """
        texts = {name: describe(d) for name, d in self.distributions.items()}
        texts |= {name: f"{value!r}" for name, value in self.fixed.items()}
        return {
            name: texts[name] + self.conditions.describe(name)
            for name in self._fields.defaults
            if name in texts
        }

    def _canonical(self, name: str, value: Value) -> Value:
        if name in self.distributions:
            value = on_grid(self.distributions[name], value)
        return self._fields.typed(name, value)
