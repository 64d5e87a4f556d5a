"""Converts the plain values of a YAML file to the types of a model, and words its problems.

The models are strict, but YAML and people write 1 for 1.0 and `yes` for true. These are converted
if the model declares a float or a boolean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from shiftsearch.search.proposing.fields import nearest

_WORDS = {"yes": True, "on": True, "no": False, "off": False}
"""Words besides true and false that are booleans in YAML 1.1, and that people write."""


def _boolean(value: object) -> object:
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def with_boolean_log(node: object) -> object:
    """The space with `log: yes` replaced by `log: true`."""
    if not isinstance(node, Mapping):
        return node
    return {k: _boolean(v) if k == "log" else with_boolean_log(v) for k, v in node.items()}


def as_declared(model: type[BaseModel], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The raw values, converted to booleans and floats as the model's strict fields need."""
    result: dict[str, Any] = {}
    for key, value in raw.items():
        field = model.model_fields.get(str(key))
        kind = None if field is None else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, Mapping):
            value = as_declared(kind, value)
        elif kind is bool:
            value = _boolean(value)
        elif isinstance(value, int) and not isinstance(value, bool) and "float" in str(kind):
            value = float(value)
        result[str(key)] = value
    return result


def problem_line(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """One line for a problem that pydantic found: key path, value and rule."""
    location = [str(part) for part in error["loc"]]
    path = ".".join(location)
    if error["type"] == "extra_forbidden":
        elsewhere = [key for key in keys_of(model) if key.rpartition(".")[2] == location[-1]]
        if elsewhere:
            return f"{path}: unknown key; it may be {' or '.join(elsewhere)}"
        return f"{path}: unknown key{nearest(location[-1], _names_at(model, location[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{path}: {error['input']!r}, but {message}"


def keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """The dotted keys of a model's values, in declared order."""
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += keys_of(kind, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _names_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys that the section at this key path may have."""
    for part in location:
        kind = model.model_fields[part].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)
