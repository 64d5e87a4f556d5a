"""A hyperparameter that is added later, off: no run's identity, no stored trial is another."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from optuna.trial import FrozenTrial, create_trial

import search.space
from model.frozen import Neutral
from model.hyperparameters import Hyperparameters, StageHyperparameters, Value
from search.records import record_of
from search.settings import Settings
from search.space import Space
from search.study import Study

pytestmark = pytest.mark.unit

NAME = "baseline.mixup"
RAW = {"fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}


class LaterStage(StageHyperparameters):
    mixup: Annotated[float, Neutral(0.0)] = 0.0


class Later(Hyperparameters):
    baseline: LaterStage = LaterStage()


def with_the_option(patch: pytest.MonkeyPatch) -> None:
    flat = Later().to_flat()
    patch.setattr(search.space, "Hyperparameters", Later)
    patch.setattr(search.space, "REFERENCE", flat)
    patch.setattr(search.study, "REFERENCE", flat)
    patch.setattr(search.space, "ADDED", {NAME: 0.0})


def test_the_description_is_the_same_until_the_option_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Space.parse(RAW).describe()
    with_the_option(monkeypatch)
    assert Space.parse(RAW).describe() == before
    on = Space.parse({**RAW, "baseline": {"mixup": 0.2}}).describe()
    assert on == before | {NAME: "0.2"}
    searched = Space.parse({**RAW, "baseline": {"mixup": {"low": 0, "high": 1}}}).describe()
    assert searched == before | {NAME: "0 to 1"}


def stored(configuration: dict[str, Value]) -> FrozenTrial:
    attributes: dict[str, Any] = {"role": "reference", "configuration": configuration}
    return create_trial(value=0.5, user_attrs=attributes)


def test_a_stored_trial_has_the_option_off(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Hyperparameters().to_flat()
    with_the_option(monkeypatch)
    assert record_of(stored(old)).configuration == Later().to_flat()


def test_a_study_knows_its_reference_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def study() -> Study:
        return Study(tmp_path / "journal", Space.parse(RAW), Settings("s"), {"seed": "0"})

    assert [t.role for t in study().trials()] == ["reference"]
    with_the_option(monkeypatch)
    again = study()
    assert [t.role for t in again.trials()] == ["reference"]
    job = again.ask()
    assert job is not None
    assert job.configuration == Later().to_flat()
