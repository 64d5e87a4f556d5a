"""The configuration: the reference's values, the flat form, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from shiftsearch.model.hyperparameters import LAYERS, Hyperparameters, Protocol, Schedule
from shiftsearch.model.network import Network

pytestmark = pytest.mark.unit

OFF = {"rotation": 0, "scale": 0, "translation": 0, "noise": 0, "brightness": 0, "contrast": 0}
STAGE = {"weight_decay": 0, "batch_size": 64, "label_smoothing": 0, "dropout": 0.5}
REFERENCE = {
    "baseline": {"learning_rate": 1e-3, **STAGE, "augmentation": OFF},
    "fine_tune": {"learning_rate": 1e-4, **STAGE, "augmentation": OFF, "frozen_layers": 2},
}
SCHEDULE = {"max_epochs": 15, "patience": 4, "reduce_after": 2, "reduce_factor": 0.5}


def test_the_defaults_are_the_reference_configuration_and_protocol() -> None:
    assert Hyperparameters().content() == REFERENCE
    assert Protocol().content() == {
        "baseline": SCHEDULE,
        "fine_tune": SCHEDULE,
        "fine_tune_on": "TEST",
        "holdout": 0.5,
        "division_seed": 0,
    }


def test_the_flat_form_names_every_value_and_comes_back() -> None:
    flat = Hyperparameters().to_flat()
    assert len(flat) == 23
    values = {
        name: value + 1 if type(value) is int else value + 1e-5 for name, value in flat.items()
    }
    through_json = json.loads(json.dumps(values))
    assert Hyperparameters.from_flat(through_json).to_flat() == values
    assert flat["fine_tune.augmentation.rotation"] == 0
    assert Hyperparameters.from_flat({"fine_tune.frozen_layers": 3}).to_flat() == (
        flat | {"fine_tune.frozen_layers": 3}
    )


def test_an_integer_for_a_float_is_the_same_configuration() -> None:
    given = Hyperparameters.from_flat({"baseline.dropout": 0})
    assert given.model_dump_json() == (
        Hyperparameters.from_flat({"baseline.dropout": 0.0}).model_dump_json()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("baseline.learning_rate", 0.0),
        ("baseline.learning_rate", 1.5),
        ("baseline.learning_rate", float("nan")),
        ("baseline.learning_rate", "0.1"),
        ("baseline.weight_decay", -1e-3),
        ("baseline.weight_decay", float("inf")),
        ("baseline.batch_size", 1),
        ("baseline.batch_size", 64.0),
        ("baseline.batch_size", True),
        ("baseline.label_smoothing", 1.0),
        ("fine_tune.dropout", 1.0),
        ("fine_tune.dropout", -0.1),
        ("fine_tune.frozen_layers", -1),
        ("fine_tune.frozen_layers", 6),
        ("fine_tune.augmentation.rotation", 181.0),
        ("fine_tune.augmentation.scale", 0.95),
        ("fine_tune.augmentation.translation", -1.0),
        ("fine_tune.augmentation.noise", 1.1),
        ("fine_tune.augmentation.brightness", -0.1),
        ("fine_tune.augmentation.contrast", 1.1),
        ("baseline.frozen_layers", 2),
        ("baseline.learningrate", 0.1),
        ("dropout", 0.5),
    ],
)
def test_values_out_of_range_and_unknown_names_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Hyperparameters.from_flat({name: value})
    assert [".".join(map(str, problem["loc"])) for problem in caught.value.errors()] == [name]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_epochs": 0},
        {"patience": 0},
        {"reduce_after": 0},
        {"reduce_factor": 1.0},
        {"reduce_factor": 0.0},
        {"min_updates": -1},
    ],
)
def test_schedules_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Schedule(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"holdout": 0.95}, {"holdout": -0.1}, {"division_seed": -1}, {"fine_tune_on": "TRAIN"}],
)
def test_protocols_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Protocol(**wrong)


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Hyperparameters().baseline.dropout = 0.1  # type: ignore[misc]


def test_as_many_layers_can_be_frozen_as_the_deepest_network_has() -> None:
    assert len(Network(3, (16, 16)).layers) == 4
    deepest = Hyperparameters.from_flat({"network.name": "blocks", "network.depth": 4})
    assert len(deepest.network.architecture.layer_names) == LAYERS == 5
