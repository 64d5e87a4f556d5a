"""Hyperparameters that exist only when others have certain values.

A condition names other hyperparameters and, for each, the values of which it must have one. These
hyperparameters may be conditional themselves. If a condition does not hold, the hyperparameter is
absent: it is not drawn and not part of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shiftsearch.model.frozen import Condition
from shiftsearch.model.hyperparameters import Value


class Circle(ValueError):  # noqa: N818, named by its cause
    """A name's condition leads back to the name.

    Attributes:
        names: the names on the circle; the first and the last are the same.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(f"leads back to itself: {', '.join(names)}")


class Conditions:
    """The conditions of the hyperparameters of a space.

    Args:
        own: by name, the condition that the hyperparameter itself declares.

    Raises:
        Circle: a name's condition leads back to the name.
    """

    def __init__(self, own: Mapping[str, Condition]) -> None:
        self._own = {name: condition for name, condition in own.items() if condition}
        self._all = {name: self._followed(name, ()) for name in self._own}

    def _followed(self, name: str, before: Sequence[str]) -> dict[str, tuple[Value, ...]]:
        """The name's condition together with those of the names in it."""
        if name in before:
            raise Circle([*before[before.index(name) :], name])
        found: dict[str, tuple[Value, ...]] = {}
        for other, values in self._own.get(name, {}).items():
            needed = _both({other: values}, self._followed(other, (*before, name)))
            found = _both(found, needed)
        return found

    def of(self, name: str) -> Condition:
        """All that must hold for the name to exist, with the conditions of its conditions."""
        return self._all.get(name, {})

    def exists(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether the name exists beside these values; a condition on an absent value fails."""
        return all(o in values and values[o] in v for o, v in self.of(name).items())

    def existing(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the names that exist beside the others."""
        return {name: value for name, value in values.items() if self.exists(name, values)}

    def ordered(self, names: Sequence[str]) -> list[str]:
        """The names, each after the names in its condition; otherwise in the given order."""
        return sorted(names, key=self._depth)

    def _depth(self, name: str) -> int:
        return 1 + max((self._depth(o) for o in self._own.get(name, {})), default=-1)

    def groups(self, names: Sequence[str]) -> list[list[str]]:
        """Names that always exist together, in the order in which they can be drawn."""
        found: dict[tuple[tuple[str, tuple[Value, ...]], ...], list[str]] = {}
        for name in self.ordered(names):
            found.setdefault(tuple(sorted(self.of(name).items())), []).append(name)
        return list(found.values())

    def without(self, names: Sequence[str]) -> Conditions:
        """The conditions that remain when these names have values that satisfy them."""
        return Conditions(
            {
                name: {other: v for other, v in condition.items() if other not in names}
                for name, condition in self._all.items()
            }
        )

    def names(self) -> set[str]:
        """All names that appear in a condition."""
        return {other for condition in self._own.values() for other in condition}

    def describe(self, name: str) -> str:
        """`, when fine_tune.unfreezing is 'gradual'`; empty if the name always exists."""
        rules = [
            f"{other} is {' or '.join(map(repr, values))}"
            for other, values in self._own.get(name, {}).items()
        ]
        return f", when {' and '.join(rules)}" if rules else ""


NONE = Conditions({})
"""All names exist always."""


def joined(
    one: Mapping[str, Condition], other: Mapping[str, Condition]
) -> dict[str, dict[str, tuple[Value, ...]]]:
    """By name, the values that satisfy both."""
    return {k: _both(one.get(k, {}), other.get(k, {})) for k in {**one, **other}}


def _both(one: Condition, other: Condition) -> dict[str, tuple[Value, ...]]:
    return {
        name: tuple(v for v in one.get(name, other.get(name, ())) if v in other.get(name, (v,)))
        for name in {**one, **other}
    }
