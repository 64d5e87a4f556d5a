"""Choices of text, switches, and what exists only when others have a value."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from shiftsearch.search.proposing.space import Space, SpaceError
from tests.search.conditional import (
    AUGMENTED,
    DROPOUT,
    FIELDS,
    ROTATION,
    SPACE,
    STANDARDISE,
    THAW_EVERY,
    UNFREEZING,
    Conditional,
)

pytestmark = pytest.mark.unit


def drawn(space: Space, seed: int) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return space.suggest(study.ask())


def parse(fine_tune: dict[str, Any], **others: Any) -> Space:
    return Space.parse({"fine_tune": fine_tune, **others}, fields=FIELDS)


def test_what_a_condition_does_not_allow_is_absent() -> None:
    configurations = [drawn(SPACE, seed) for seed in range(30)]
    for configuration in configurations:
        assert (THAW_EVERY in configuration) == (configuration[UNFREEZING] == "gradual")
        assert (ROTATION in configuration) == configuration[AUGMENTED]
        assert Conditional.from_flat(configuration).to_flat().items() >= configuration.items()
    assert {c[UNFREEZING] for c in configurations} == {"none", "gradual"}
    assert {c.get(THAW_EVERY) for c in configurations} == {None, 1, 2, 3, 4}
    assert {c[STANDARDISE] for c in configurations} == {True, False}


def test_only_what_exists_keys_a_stage() -> None:
    off = Conditional.from_flat({UNFREEZING: "none"}).fine_tune.content()
    on = Conditional.from_flat({UNFREEZING: "gradual", THAW_EVERY: 3}).fine_tune.content()
    assert "thaw_every" not in off
    assert on == off | {"unfreezing": "gradual", "thaw_every": 3}
    with pytest.raises(ValidationError, match="thaw_every exists only when unfreezing is 'grad"):
        Conditional.from_flat({UNFREEZING: "none", THAW_EVERY: 3})


def test_the_description_tells_conditions() -> None:
    texts = SPACE.describe()
    assert texts[UNFREEZING] == "one of 'none', 'gradual'"
    assert texts[THAW_EVERY] == "1 to 4 (step 1), when fine_tune.unfreezing is 'gradual'"
    assert texts[ROTATION] == "0 to 20, when fine_tune.augmented is True"
    fixed = parse({"unfreezing": {"choices": ["none", "gradual"]}, "thaw_every": 3})
    assert fixed.describe()[THAW_EVERY] == "3, when fine_tune.unfreezing is 'gradual'"
    assert fixed.complete({UNFREEZING: "gradual"})[THAW_EVERY] == 3
    assert THAW_EVERY not in fixed.complete({UNFREEZING: "none"})


def test_what_can_never_exist_is_not_described() -> None:
    assert THAW_EVERY not in parse({}).describe()
    assert THAW_EVERY not in parse({}).fixed
    assert parse({"unfreezing": "gradual"}).fixed[THAW_EVERY] == 1


def test_the_class_and_the_space_may_both_ask() -> None:
    unfreezing = {"choices": ["none", "gradual"]}
    thaw = {"low": 1, "high": 4, "when": {"augmented": True}}
    space = parse(
        {"unfreezing": unfreezing, "augmented": {"choices": [True, False]}} | {"thaw_every": thaw}
    )
    both = {UNFREEZING: "gradual", AUGMENTED: True, THAW_EVERY: 2}
    assert THAW_EVERY in space.complete(both)
    assert THAW_EVERY not in space.complete({**both, AUGMENTED: False})
    assert THAW_EVERY not in space.complete({**both, UNFREEZING: "none"})


def test_a_condition_holds_only_where_what_it_names_exists() -> None:
    chain = {
        "unfreezing": {"choices": ["none", "gradual"]},
        "thaw_every": {"low": 1, "high": 4},
        "dropout": {"low": 0.0, "high": 0.5, "when": {"thaw_every": [2, 3]}},
    }
    space = parse(chain)
    name = "fine_tune.dropout"
    values = {UNFREEZING: "gradual", THAW_EVERY: 2, name: 0.25}
    assert space.complete(values)[name] == 0.25
    assert name not in space.complete({**values, THAW_EVERY: 1})
    assert name not in space.complete({**values, UNFREEZING: "none"})


@pytest.mark.parametrize(
    ("fine_tune", "problem"),
    [
        ({"unfreezing": "fast"}, "space.fine_tune.unfreezing: 'fast': input should be 'none'"),
        ({"unfreezing": True}, "space.fine_tune.unfreezing: True is not text"),
        ({"augmented": "yes"}, "space.fine_tune.augmented: 'yes' is not true or false"),
        ({"augmented": 1}, "space.fine_tune.augmented: 1 is not true or false"),
        ({"unfreezing": {"low": 1, "high": 2}}, "has choices, but no range"),
        ({"augmented": {"low": False, "high": True}}, "has choices, but no range"),
        ({"unfreezing": {"choices": ["none", "none"]}}, "holds a value twice"),
    ],
)
def test_wrong_values_are_refused(fine_tune: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parse(fine_tune)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("gradual", "dropout.when: is 'gradual', but must map names to values"),
        ({}, "dropout.when: is {}, but must map names to values"),
        (
            {"unfreezin": "gradual"},
            "dropout.when.unfreezin: is not a hyperparameter; nearest is fine_tune.unfreezing",
        ),
        (
            {"unfreezing": "surgical"},
            "dropout.when.unfreezing: 'surgical' is not among its values, one of 'none', 'gra",
        ),
        ({"unfreezing": "fast"}, "dropout.when.unfreezing: 'fast': input should be"),
        ({"unfreezing": []}, "dropout.when.unfreezing: is [], but must be"),
        ({"augmented": True}, "dropout.when.augmented: is fixed at False"),
        ({"learning_rate": 1e-3}, "dropout.when.learning_rate: is drawn from a range"),
        (
            {"dropout": 0.1},
            "dropout.when: leads back to itself: fine_tune.dropout, fine_tune.dropout",
        ),
        ({"label_smoothing": 0.1}, "leads back to itself: fine_tune."),
    ],
)
def test_wrong_conditions_are_refused_with_their_key(when: object, problem: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parse(
            {
                "unfreezing": {"choices": ["none", "gradual"]},
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
                "label_smoothing": {"choices": [0.0, 0.1], "when": {"dropout": 0.1}},
                "dropout": {"low": 0.1, "high": 0.5, "step": 0.1, "when": when},
            }
        )
    assert problem in str(caught.value)


def test_a_baseline_cannot_hang_on_its_fine_tune() -> None:
    dropout = {"low": 0.0, "high": 0.5, "when": {UNFREEZING: "none"}}
    with pytest.raises(SpaceError, match="belongs to the fine-tune"):
        parse({"unfreezing": {"choices": ["none", "gradual"]}}, baseline={"dropout": dropout})


def test_what_is_searched_but_can_never_exist_is_refused() -> None:
    with pytest.raises(SpaceError, match="thaw_every: can never exist: it needs"):
        parse({"thaw_every": {"low": 1, "high": 4}})


def test_points_are_refused_what_does_not_exist_beside_them() -> None:
    point = SPACE.point({UNFREEZING: "gradual", THAW_EVERY: 3}, "p")
    assert point[THAW_EVERY] == 3
    assert ROTATION not in point
    with pytest.raises(SpaceError) as caught:
        SPACE.point({THAW_EVERY: 3, STANDARDISE: "yes"}, "p")
    assert caught.value.problems == (
        "p.standardise: 'yes' is not true or false",
        "p.fine_tune.thaw_every: 3, but it exists only when fine_tune.unfreezing is 'gradual'",
    )


def test_a_changed_configuration_loses_what_does_not_exist_any_more() -> None:
    base = SPACE.point({UNFREEZING: "gradual", THAW_EVERY: 3, DROPOUT: 0.2}, "p")
    changed = SPACE.point({UNFREEZING: "none"}, "p", base)
    assert THAW_EVERY not in changed
    assert changed[DROPOUT] == 0.2


def test_fine_tunes_are_counted_branch_by_branch() -> None:
    finite = {
        "unfreezing": {"choices": ["none", "gradual"]},
        "thaw_every": {"low": 1, "high": 4},
        "augmented": {"choices": [True, False]},
    }
    assert parse(finite).fine_tunes() == (1 + 4) * 2
    by_baseline = {"thaw_every": {"low": 1, "high": 4, "when": {STANDARDISE: True}}}
    shared = {STANDARDISE: {"choices": [True, False]}}
    assert parse({**finite, **by_baseline}, **shared).fine_tunes() == 2 * 2
    assert SPACE.fine_tunes() == float("inf")


def test_the_reference_is_recorded_at_the_nearest_that_exists() -> None:
    space = parse(
        {"unfreezing": {"choices": ["gradual", "surgical"]}, "thaw_every": {"low": 2, "high": 4}}
    )
    assert UNFREEZING in space.reference
    assert THAW_EVERY not in space.reference
    assert space.nearest_inside(space.reference) == {UNFREEZING: "gradual", THAW_EVERY: 2}
