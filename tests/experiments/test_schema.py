"""The schema of experiment files accepts the shipped ones and refuses what `load` refuses."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from shiftsearch.experiments.definition import SHIPPED, dump, load, shipped
from shiftsearch.experiments.schema import experiment_schema

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = experiment_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", shipped())
def test_shipped_experiments_are_valid_as_written_and_as_printed(
    name: str, validator: Any
) -> None:
    written = yaml.load((SHIPPED / f"{name}.yaml").read_text("utf-8"), yaml.SafeLoader)
    for raw in (as_numbers(written), yaml.safe_load(dump(load(name)))):
        assert [error.message for error in validator.iter_errors(raw)] == []


def as_numbers(node: Any) -> Any:
    """YAML 1.1 reads 3e-4 as text; editors read YAML 1.2, as `load` does."""
    if isinstance(node, dict):
        return {k: as_numbers(v) for k, v in node.items()}
    try:
        return float(node) if isinstance(node, str) else node
    except ValueError:
        return node


@pytest.mark.parametrize(
    "wrong",
    [
        {"trails": 3},
        {"trials": "many"},
        {"space": {"baseline": {"dropot": 0.5}}},
        {"space": {"baseline": {"dropout": {"low": 0.1}}}},
        {"space": {"baseline": {"dropout": {"low": 0.1, "high": 0.5, "stepp": 0.1}}}},
        {"space": {"preprocessing": {"intensity": "bright"}}},
        {"points": [{"baseline": {"dropout": {"low": 0.1, "high": 0.5}}}]},
        {"protocol": {"holdout": 2}},
    ],
)
def test_what_is_wrong_is_refused(wrong: dict[str, Any], validator: Any) -> None:
    assert not validator.is_valid(wrong)


def test_values_ranges_choices_and_conditions_are_accepted(validator: Any) -> None:
    space = {
        "baseline": {"dropout": 0.5, "batch_size": {"choices": [32, 64]}},
        "fine_tune": {
            "frozen_layers": {"low": 0, "high": 4},
            "weight_decay": {"low": 0, "high": 0.1, "when": {"frozen_layers": [0, 1]}},
        },
    }
    assert validator.is_valid({"space": space, "points": [{"fine_tune": {"frozen_layers": 0}}]})
