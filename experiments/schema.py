"""The JSON schema of experiment files, with which an editor completes and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shiftsearch.experiments.definition import Experiment
from shiftsearch.model.frozen import Frozen
from shiftsearch.model.hyperparameters import Hyperparameters

_RANGE = ("low", "high", "step")


def experiment_schema() -> dict[str, Any]:
    """The schema of an experiment file (JSON Schema, draft 2020-12).

    `space` and `points` are typed by the hyperparameters: a value, a range or choices.
    """
    schema = Experiment.model_json_schema()
    hyperparameters = Hyperparameters.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    known = hyperparameters.pop("$defs", {})
    space = _searchable(Hyperparameters, known)
    point = _searchable(Hyperparameters, known, is_point=True)
    schema["properties"]["space"] = space
    schema["properties"]["points"] = {"type": "array", "items": point}
    definitions |= {name: kind for name, kind in known.items() if name not in definitions}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _searchable(
    model: type[Frozen], known: Mapping[str, Any], *, is_point: bool = False
) -> dict[str, Any]:
    """The schema of a group of hyperparameters."""
    fields = model.model_json_schema()["properties"]
    properties = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Frozen):
            properties[name] = _searchable(kind, known, is_point=is_point)
        else:
            properties[name] = fields[name] if is_point else _domain(fields[name])
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _domain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one hyperparameter in a space."""
    about = {key: value[key] for key in ("description", "default", "title") if key in value}
    plain = {key: part for key, part in value.items() if key not in about}
    condition = {"when": {"type": "object"}}
    choices = {
        "type": "object",
        "properties": {"choices": {"type": "array", "items": plain, "minItems": 1}, **condition},
        "required": ["choices"],
        "additionalProperties": False,
    }
    options = [plain, choices]
    if plain.get("type") in ("number", "integer"):
        numbers = {key: {"type": "number"} for key in _RANGE}
        options.append(
            {
                "type": "object",
                "properties": {**numbers, "log": {"type": "boolean"}, **condition},
                "required": ["low", "high"],
                "additionalProperties": False,
            }
        )
    return {**about, "anyOf": options}
