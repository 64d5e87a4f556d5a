"""The hyperparameters of a space: their names, types, reference values and conditions."""

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
    """The fields of one class of hyperparameters.

    Args:
        hyperparameters: the class.

    Attributes:
        defaults: every dotted name, in declared order, with its reference value.
        reference: the reference configuration: the defaults that exist in it.
        neutral: by name, the value at which a hyperparameter marked `Neutral` is off.
        conditions: the conditions that the class declares, by name.
    """

    def __init__(self, hyperparameters: type[Hyperparameters] = Hyperparameters) -> None:
        self._class = hyperparameters
        self.defaults: Mapping[str, Value] = hyperparameters.defaults()
        self.reference: Mapping[str, Value] = hyperparameters().to_flat()
        self.neutral: Mapping[str, Value] = hyperparameters.neutrals()
        self.conditions: Mapping[str, Condition] = hyperparameters.conditions()

    def check(self, name: str) -> None:
        """Refuse a name that is not a hyperparameter.

        Raises:
            ValueError: it is not one; the message has the nearest valid name.
        """
        if name not in self.defaults:
            raise ValueError(f"is not a hyperparameter{nearest(name, self.defaults)}")

    def typed(self, name: str, value: Value) -> Value:
        """The value in the type that its field declares."""
        return type(self.defaults[name])(value)

    def value(self, name: str, raw: object) -> Value:
        """A given value in the declared type of its field, checked against the field's range.

        Raises:
            ValueError: the value is wrong; the message has the value and the rule.
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
                    f"{raw!r} is not text; put it in quotation marks if text is meant"
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
        """Values of other names with which the name exists."""
        needed: dict[str, Value] = {}
        for other, values in self.conditions.get(name, {}).items():
            needed |= {**self._needed(other), other: values[0]}
        return needed

    def leaves(self, raw: Mapping[str, Any], keys: Sequence[str] = ()) -> list[tuple[str, Any]]:
        """Flatten nested mappings to dotted names.

        Args:
            raw: the mapping as read from a file.
            keys: a mapping with one of these keys is a value, and not flattened further.
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
    """`; nearest is ...`, or an empty text if no valid name is near.

    Names with the same last part come before all others, then those with its letters as initials:
    `lr` stands for `learning_rate`.
    """
    last = name.rpartition(".")[2]
    alike = [v for v in valid if v.rpartition(".")[2] == last]
    alike = alike or [v for v in valid if _initials(v.rpartition(".")[2]) == last]
    close = difflib.get_close_matches(name, alike or list(valid), n=1, cutoff=0 if alike else 0.4)
    return f"; nearest is {close[0]}" if close else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.split("_"))
