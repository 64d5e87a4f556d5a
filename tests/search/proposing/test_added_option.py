"""A hyperparameter that is added later, off by default, changes no identity or stored trial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

from shiftsearch.model.frozen import Neutral
from shiftsearch.model.hyperparameters import Hyperparameters, StageHyperparameters
from shiftsearch.search.proposing.fields import Fields
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import Study

pytestmark = pytest.mark.unit

NAME = "baseline.mixup"
RAW = {"fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}


class LaterStage(StageHyperparameters):
    mixup: Annotated[float, Neutral(0.0)] = 0.0


class Later(Hyperparameters):
    baseline: LaterStage = LaterStage()


LATER = Fields(Later)


def test_the_description_is_the_same_until_the_option_is_used() -> None:
    before = Space.parse(RAW).describe()
    assert Space.parse(RAW, fields=LATER).describe() == before
    on = Space.parse({**RAW, "baseline": {"mixup": 0.2}}, fields=LATER)
    assert on.describe() == before | {NAME: "0.2"}
    searched = Space.parse({**RAW, "baseline": {"mixup": {"low": 0, "high": 1}}}, fields=LATER)
    assert searched.describe() == before | {NAME: "0 to 1"}


def test_a_configuration_is_the_same_until_the_option_is_used() -> None:
    values = {"fine_tune.learning_rate": 1e-3}
    off = Space.parse({**RAW, "baseline": {"mixup": 0.0}}, fields=LATER)
    assert off.complete(values) == Space.parse(RAW).complete(values)
    assert off.reference == Hyperparameters().to_flat()
    assert off.point({"baseline": {"mixup": 0}}, "p") == off.point({}, "p")
    on = Space.parse({**RAW, "baseline": {"mixup": 0.2}}, fields=LATER)
    assert on.complete(values)[NAME] == 0.2
    searched = Space.parse({**RAW, "baseline": {"mixup": {"low": 0, "high": 1}}}, fields=LATER)
    assert searched.complete({NAME: 0.0})[NAME] == 0.0
    assert searched.reference[NAME] == 0.0


def test_a_study_knows_its_reference_again(tmp_path: Path) -> None:
    def study(fields: Fields) -> Study:
        space = Space.parse(RAW, fields=fields)
        return Study(tmp_path / "journal", space, Settings("s"), {"seed": "0"})

    assert [t.role for t in study(Fields()).trials()] == ["reference"]
    again = study(LATER)
    assert [t.role for t in again.trials()] == ["reference"]
    job = again.ask()
    assert job is not None
    assert Later.from_flat(job.configuration) == Later()
