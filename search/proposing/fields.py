"""The hyperparameters that a space is over: their names, types, reference values, conditions."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from shiftsearch.model.frozen import Condition
from shiftsearch.model.hyperparameters import Hyperparameters, Value


class Fields:
    """Of one class of hyperparameters.

    Args:
        hyperparameters: the class.

    Attributes:
        defaults: every dotted name, in declared order, with its reference value.
        reference: the reference configuration: of them those that exist in it.
        neutral: values at which the hyperparameters are off that the first version did not have.
        conditions: of the names that the class declares to exist only when others have a value.
    """

    def __init__(self, hyperparameters: type[Hyperparameters] = Hyperparameters) -> None:
        self._class = hyperparameters
        self.defaults: Mapping[str, Value] = hyperparameters.defaults()
        self.reference: Mapping[str, Value] = hyperparameters().to_flat()
        self.neutral: Mapping[str, Value] = hyperparameters.neutrals()
        self.conditions: Mapping[str, Condition] = hyperparameters.conditions()

    def check(self, name: str) -> None:
        """Refuse what is not a hyperparameter.

        Raises:
            ValueError: with the nearest name that is one.
        """
        if name not in self.defaults:
            raise ValueError(f"is not a hyperparameter{nearest(name, self.defaults)}")

    def typed(self, name: str, value: Value) -> Value:
        """The value in the type that its field declares."""
        return type(self.defaults[name])(value)

    def value(self, name: str, raw: object) -> Value:
        """A value that was given, in its declared type and within the range of its field.

        Raises:
            ValueError: with the value and the rule.
        """
        value = self._of_type(name, raw)
        try:
            self._class.from_flat({**self._needed(name), name: value})
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(f"{raw!r}: {reason[0].lower()}{reason[1:]}") from None
        return value

    def _of_type(self, name: str, raw: object) -> Value:
        declared = type(self.defaults[name])
        if declared is str:
            if not isinstance(raw, str):
                raise ValueError(
                    f"{raw!r} is not a text; put it in quotation marks if it is meant"
                )
            return raw
        if declared is bool:
            if not isinstance(raw, bool):
                raise ValueError(f"{raw!r} is not true or false")
            return raw
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            raise ValueError(f"{raw!r} is not a number")
        if abs(raw) > sys.float_info.max or not math.isfinite(raw):
            raise ValueError(f"{raw!r} is not finite")
        if declared is int and raw != int(raw):
            raise ValueError(f"{raw!r} is not a whole number")
        return declared(raw)

    def _needed(self, name: str) -> dict[str, Value]:
        """Values with which the name exists."""
        needed: dict[str, Value] = {}
        for other, values in self.conditions.get(name, {}).items():
            needed |= {**self._needed(other), other: values[0]}
        return needed

    def leaves(self, raw: Mapping[str, Any], keys: Sequence[str] = ()) -> list[tuple[str, Any]]:
        """Nested mappings as dotted names with what they hold.

        Args:
            raw: as read from a file.
            keys: a mapping with one of these is what a name holds, and no further nesting.
        """
        return self._leaves(raw, keys, "")

    def _leaves(
        self, raw: Mapping[str, Any], keys: Sequence[str], prefix: str
    ) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        for key, value in raw.items():
            name = f"{prefix}{key}"
            is_held = name in self.defaults or not isinstance(value, Mapping)
            if is_held or set(value) & set(keys):
                found.append((name, value))
            else:
                found += self._leaves(value, keys, f"{name}.")
        return found


def nearest(name: str, valid: Mapping[str, Any] | Sequence[str]) -> str:
    """`; nearest is ...`, or nothing when no valid name is near."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.4)
    return f"; nearest is {close[0]}" if close else ""
