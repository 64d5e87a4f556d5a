"""The space: every hyperparameter fixed or searched, wrong domains refused by name."""

from __future__ import annotations

import json
import math
from typing import Any

import optuna
import pytest

from shiftsearch.search.proposing.space import REFERENCE, Space, SpaceError

pytestmark = pytest.mark.unit

RANGES: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "weight_decay": {"low": 0, "high": 0.1, "step": 0.02},
    "batch_size": {"choices": [32, 64, 128]},
    "label_smoothing": {"low": 0, "high": 0.2},
    "dropout": {"low": 0.1, "high": 0.7, "step": 0.2},
    "frozen_layers": {"low": 0, "high": 4},
    "rotation": {"low": 0, "high": 30, "step": 2.5},
    "scale": {"low": 0, "high": 0.3, "step": 0.1},
    "translation": {"low": 0, "high": 3, "step": 1},
    "noise": {"low": 0, "high": 0.1},
    "brightness": {"low": 0, "high": 0.4},
    "contrast": {"choices": [0, 0.25, 0.5]},
}


def nested(name: str, leaf: object) -> dict[str, Any]:
    """`{"a": {"b": leaf}}` for a.b."""
    for part in reversed(name.split(".")):
        leaf = {part: leaf}
    assert isinstance(leaf, dict)
    return leaf


def drawn(space: Space, seed: int = 0) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return space.suggest(study.ask())


def problem_of(raw: dict[str, Any]) -> str:
    with pytest.raises(SpaceError) as caught:
        Space.parse(raw)
    (problem,) = caught.value.problems
    return problem


def test_there_are_the_23_hyperparameters_of_the_source() -> None:
    stage = set(RANGES) - {"frozen_layers"}
    assert len(REFERENCE) == 23
    assert {name.split(".")[-1] for name in REFERENCE} == stage | {"frozen_layers"}


@pytest.mark.parametrize("name", REFERENCE)
def test_every_hyperparameter_can_be_searched(name: str) -> None:
    leaf = RANGES[name.split(".")[-1]]
    space = Space.parse(nested(name, leaf))
    assert list(space.distributions) == [name]
    assert list(space.fixed) == [other for other in REFERENCE if other != name]
    values = {drawn(space, seed)[name] for seed in range(20)}
    assert len(values) > 1
    assert {type(value) for value in values} == {type(REFERENCE[name])}
    assert all(space.contains(name, value) for value in values)
    others = drawn(space)
    assert {k: v for k, v in others.items() if k != name} == space.fixed


@pytest.mark.parametrize("name", REFERENCE)
def test_every_hyperparameter_can_be_fixed(name: str) -> None:
    domain = RANGES[name.split(".")[-1]]
    value = domain["choices"][-1] if "choices" in domain else domain["high"]
    space = Space.parse(nested(name, value))
    assert not space.distributions
    assert drawn(space) == {**REFERENCE, name: value}
    assert type(drawn(space)[name]) is type(REFERENCE[name])


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            {"baseline": {"learning_rat": 1e-3}},
            "space.baseline.learning_rat: is not a hyperparameter; nearest is"
            " baseline.learning_rate",
        ),
        (
            {"basline": {"dropout": {"low": 0, "high": 0.5}}},
            "space.basline.dropout: is not a hyperparameter; nearest is baseline.dropout",
        ),
        (
            {"baseline": {"frozen_layers": 2}},
            "space.baseline.frozen_layers: is not a hyperparameter; nearest is"
            " fine_tune.frozen_layers",
        ),
        ({"baseline": 3}, "space.baseline: is not a hyperparameter"),
        (
            {"baseline": {"dropout": {"low": 0.1, "hihg": 0.5}}},
            "key 'hihg' is unknown; a range has low, high, log, step, choices, when; nearest is"
            " high",
        ),
        ({"baseline": {"dropout": "half"}}, "space.baseline.dropout: 'half' is not a number"),
        ({"baseline": {"dropout": True}}, "space.baseline.dropout: True is not a number"),
        ({"baseline": {"dropout": None}}, "space.baseline.dropout: None is not a number"),
        ({"baseline": {"dropout": math.nan}}, "space.baseline.dropout: nan is not finite"),
        ({"baseline": {"dropout": 1.5}}, "space.baseline.dropout: 1.5: input should be less"),
        ({"baseline": {"batch_size": 32.5}}, "32.5 is not a whole number"),
        ({"baseline": {"dropout": {"low": 0.5, "high": 0.1}}}, "low 0.5 must be below high 0.1"),
        ({"baseline": {"dropout": {"low": 0.5, "high": 0.5}}}, "low 0.5 must be below high 0.5"),
        ({"baseline": {"dropout": {"low": 0.1}}}, "a range needs low and high; high is missing"),
        ({"baseline": {"dropout": {}}}, "low and high is missing"),
        ({"baseline": {"dropout": {"low": 0, "high": 2}}}, "2: input should be less than 1"),
        (
            {"baseline": {"dropout": {"low": 0.0, "high": 0.5, "log": True}}},
            "low is 0.0, but must be above 0 with log",
        ),
        (
            {"baseline": {"dropout": {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}}},
            "log and step exclude each other",
        ),
        ({"baseline": {"dropout": {"low": 0.1, "high": 0.5, "log": 1}}}, "log is 1"),
        ({"baseline": {"dropout": {"low": 0.1, "high": 0.5, "step": 0}}}, "step is 0"),
        ({"baseline": {"dropout": {"low": 0.1, "high": 0.5, "step": 1}}}, "at most 0.4"),
        ({"baseline": {"batch_size": {"low": 32, "high": 64, "step": 0.5}}}, "step is 0.5"),
        ({"baseline": {"batch_size": {"choices": []}}}, "must be a list that is not empty"),
        ({"baseline": {"batch_size": {"choices": [32, 32.0]}}}, "holds a value twice"),
        ({"baseline": {"batch_size": {"choices": [32], "low": 1}}}, "choices exclude low"),
        (
            {"baseline": {"dropout": 0.1}, "baseline.dropout": {"low": 0.1, "high": 0.5}},
            "space.baseline.dropout: is given twice",
        ),
    ],
)
def test_wrong_entries_are_refused_with_path_value_and_rule(
    raw: dict[str, Any], problem: str
) -> None:
    message = problem_of(raw)
    assert message.startswith("space.")
    assert problem in message


def test_all_problems_are_named_at_once() -> None:
    raw = {"baseline": {"dropout": 2, "inertia": 0.9}, "fine_tune": {"scale": {"low": 1}}}
    with pytest.raises(SpaceError) as caught:
        Space.parse(raw)
    assert len(caught.value.problems) == 3
    assert caught.value.problems[-1].endswith("nearest is fine_tune.augmentation.scale")


def test_of_many_problems_the_first_20_are_shown_and_how_many_more() -> None:
    with pytest.raises(SpaceError) as caught:
        Space.parse({"baseline": {f"key{i}": 1 for i in range(50)}})
    *shown, last = caught.value.problems
    assert (len(shown), last) == (20, "and 30 more")


def test_configurations_are_canonical() -> None:
    """0 for a float is 0.0; a step's 0.30000000000000004 is 0.3: one configuration, one key."""
    space = Space.parse(
        {
            "baseline": {
                "dropout": {"low": 0, "high": 0.5, "step": 0.1},
                "weight_decay": 0,
                "batch_size": {"choices": [32, 64]},
            },
            "fine_tune": {"frozen_layers": {"low": 0, "high": 4}},
        }
    )
    rough = {
        "baseline.dropout": 0.1 + 0.2,
        "baseline.batch_size": 32.0,
        "fine_tune.frozen_layers": 2.0,
        "fine_tune.dropout": 0,
    }
    exact = {
        "baseline.dropout": 0.3,
        "baseline.batch_size": 32,
        "fine_tune.frozen_layers": 2,
        "fine_tune.dropout": 0.0,
    }
    assert 0.1 + 0.2 != 0.3
    text = json.dumps(space.complete(rough))
    assert text == json.dumps(space.complete(exact)) == json.dumps({**space.complete({}), **exact})
    assert json.loads(text)["baseline.weight_decay"] == 0.0
    assert '"baseline.weight_decay": 0.0' in text


def test_every_step_of_a_stepped_range_is_canonical_when_drawn_and_when_pointed_at() -> None:
    domain = {"low": 0.1, "high": 0.7, "step": 0.1}
    space = Space.parse({"baseline": {"dropout": domain}})
    values = {drawn(space, seed)["baseline.dropout"] for seed in range(60)}
    assert values == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7}
    accumulated = 0.1
    for _ in range(6):
        accumulated += 0.1
        point = space.point({"baseline": {"dropout": accumulated}}, "points[0]")
        assert point["baseline.dropout"] in values


@pytest.mark.parametrize(
    ("point", "problem"),
    [
        ({"baseline": {"dropot": 0.3}}, "is not a hyperparameter; nearest is baseline.dropout"),
        ({"baseline.dropout": 0.9}, "p.baseline.dropout: 0.9 is outside the space, 0 to 0.5"),
        ({"baseline": {"dropout": 0.25}}, "0.25 is outside the space, 0 to 0.5 (step 0.1)"),
        ({"baseline": {"dropout": {"low": 0, "high": 1}}}, "is not a number"),
        ({"baseline": {"batch_size": 48}}, "48 is outside the space, one of 32, 64"),
        ({"fine_tune": {"dropout": 0.2}}, "0.2, but the space fixes it at 0.4"),
    ],
)
def test_2_8_points_are_checked_against_the_space(point: dict[str, Any], problem: str) -> None:
    """2.8: a typo or a nested key would silently become a random value, out of range run as is."""
    space = Space.parse(
        {
            "baseline": {
                "dropout": {"low": 0, "high": 0.5, "step": 0.1},
                "batch_size": {"choices": [32, 64]},
            },
            "fine_tune": {"dropout": 0.4},
        }
    )
    with pytest.raises(SpaceError) as caught:
        space.point(point, "p")
    assert problem in str(caught.value)


def test_2_8_nested_and_flat_points_are_the_same_and_complete() -> None:
    space = Space.parse({"baseline": {"dropout": {"low": 0, "high": 0.5}}})
    flat = space.point({"baseline.dropout": 0.25}, "p")
    assert flat == space.point({"baseline": {"dropout": 0.25}}, "p")
    assert flat == {**REFERENCE, "baseline.dropout": 0.25}


def test_the_identity_text_tells_spaces_apart() -> None:
    leaves: list[object] = [
        0.1,
        0.2,
        {"low": 0.1, "high": 0.2},
        {"low": 0.1, "high": 0.2, "log": True},
        {"low": 0.1, "high": 0.2, "step": 0.1},
        {"low": 0.1, "high": 0.2, "step": 0.05},
        {"low": 0.1, "high": 0.2000001},
        {"choices": [0.1, 0.2]},
        {"choices": [0.1, 0.2, 0.3]},
    ]
    texts = [Space.parse({"baseline": {"dropout": leaf}}).describe() for leaf in leaves]
    assert len({text["baseline.dropout"] for text in texts}) == len(leaves)
    assert all(list(text) == list(REFERENCE) for text in texts)


def test_the_nearest_inside_of_a_configuration_outside_lies_inside() -> None:
    space = Space.parse(
        {
            "baseline": {
                "learning_rate": {"low": 2e-3, "high": 1e-2, "log": True},
                "batch_size": {"choices": [8, 16, 32]},
                "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
            }
        }
    )
    assert space.nearest_inside(REFERENCE) == {
        "baseline.learning_rate": 2e-3,
        "baseline.batch_size": 32,
        "baseline.dropout": 0.4,
    }
