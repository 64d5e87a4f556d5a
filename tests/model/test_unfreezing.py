"""Which layers are trained in each epoch, and at what rate, against tables made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shiftsearch.model.course import Course
from shiftsearch.model.hyperparameters import FineTuneHyperparameters, Schedule
from shiftsearch.model.recipe import Recipe
from shiftsearch.model.unfreezing import always_frozen

pytestmark = pytest.mark.unit

LAYERS = 4


def recipe(**values: Any) -> Recipe:
    made = FineTuneHyperparameters(**values)
    return Recipe(Course("fine_tune", made, Schedule(), "", "", 2, (16, 16), 0, 0))


def trained(epoch: int, **values: Any) -> str:
    """For each layer, then the head, a 1 if it is trained in the epoch."""
    return "".join("1" if rate else "0" for rate in recipe(**values).rates(epoch, 0.1))


@pytest.mark.parametrize(
    ("frozen", "from_input", "from_head"),
    [
        (0, "11111", "11111"),
        (1, "01111", "11110"),
        (2, "00111", "11100"),
        (3, "00011", "11000"),
        (4, "00001", "10000"),
    ],
)
def test_layers_are_frozen_from_either_end(frozen: int, from_input: str, from_head: str) -> None:
    assert trained(1, frozen_layers=frozen) == from_input
    assert trained(1, frozen_layers=frozen, freeze_from="head") == from_head


def test_something_is_trained_if_an_architecture_has_fewer_layers() -> None:
    values = FineTuneHyperparameters(frozen_layers=4, freeze_from="head")
    assert always_frozen(values, 2, 1) == [False, True, True]


@pytest.mark.parametrize(
    ("values", "epochs"),
    [
        ({"frozen_layers": 4}, ["00001", "00011", "00111", "01111", "11111", "11111"]),
        ({"frozen_layers": 2}, ["00111", "01111", "11111", "11111"]),
        ({"frozen_layers": 4, "thaw_every": 2}, ["00001", "00001", "00011", "00011", "00111"]),
        ({"frozen_layers": 2, "freeze_from": "head"}, ["11100", "11110", "11111"]),
    ],
)
def test_gradual_unfreezing_thaws_one_layer_at_a_time(
    values: dict[str, Any], epochs: list[str]
) -> None:
    for epoch, expected in enumerate(epochs, start=1):
        assert trained(epoch, unfreezing="gradual", **values) == expected


def test_gradual_unfreezing_thaws_at_once_if_an_architecture_has_fewer_layers() -> None:
    values = FineTuneHyperparameters(frozen_layers=4, unfreezing="gradual")
    assert always_frozen(values, 2, 1) == [True, True, False]
    assert always_frozen(values, 2, 2) == [True, False, False]


def test_a_linear_probe_trains_the_head_first() -> None:
    values = {"unfreezing": "linear probe", "probe_epochs": 2, "frozen_layers": 1}
    assert [trained(epoch, **values) for epoch in (1, 2, 3, 4)] == ["00001"] * 2 + ["01111"] * 2


def test_rates_fall_from_the_head_to_the_input() -> None:
    found = recipe(layer_decay=0.5, frozen_layers=1).rates(1, 0.8)
    assert found == pytest.approx([0, 0.1, 0.2, 0.4, 0.8])
    assert recipe(layer_decay=0.5).rates(1, 0.8)[-1] == 0.8


def test_a_parameter_of_another_policy_is_refused() -> None:
    with pytest.raises(ValidationError, match="thaw_every exists only when"):
        FineTuneHyperparameters(thaw_every=2)
    with pytest.raises(ValidationError, match="probe_epochs exists only when"):
        FineTuneHyperparameters(unfreezing="gradual", probe_epochs=2)
