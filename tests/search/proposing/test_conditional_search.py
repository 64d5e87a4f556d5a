"""A search over a conditional space: what is drawn, learned, recorded, weighed and replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, create_trial

from shiftsearch.search.judging.importance import importances
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.samplers import MODEL_FREE, MODELS, StageSampler
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.rehearsing.recording import RecordedBaseline, RecordedFineTune
from shiftsearch.search.rehearsing.surrogate import Surrogate
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import Study
from tests.made_results import made_result
from tests.search.conditional import (
    AUGMENTED,
    DROPOUT,
    FIELDS,
    ROTATION,
    SPACE,
    STANDARDISE,
    THAW_EVERY,
    UNFREEZING,
)

pytestmark = pytest.mark.unit

GP = pytest.mark.slow(reason="a Gaussian process imports much of torch")
FEW = Space.parse(
    {
        STANDARDISE: {"choices": [False, True]},
        UNFREEZING: {"choices": ["none", "gradual"]},
        THAW_EVERY: {"low": 1, "high": 4},
    },
    fields=FIELDS,
)

FROZEN = "fine_tune.frozen_layers"
MANY = Space.parse(
    {
        STANDARDISE: {"choices": [False, True]},
        DROPOUT: {"low": 0.0, "high": 0.6},
        UNFREEZING: {"choices": ["none", "gradual"]},
        THAW_EVERY: {"low": 1, "high": 4},
        FROZEN: {"low": 0, "high": 4, "when": {STANDARDISE: True}},
    },
    fields=FIELDS,
)


def accuracy(configuration: Mapping[str, Any]) -> float:
    """The objective is best with thawing every third epoch and standardised images."""
    thaw = configuration.get(THAW_EVERY)
    return (
        0.6
        + 0.1 * configuration[STANDARDISE]
        - 0.1 * (configuration["baseline.dropout"] - 0.3) ** 2
        + (0.0 if thaw is None else 0.2 - 0.05 * abs(thaw - 3))
        + 0.001 * configuration.get(ROTATION, 0.0)
    )


def study(path: Path | None, sampler: str, trials: int, space: Space = SPACE) -> Study:
    policy = Policy(branches=3, first_baselines=2, rungs=())
    settings = Settings("s", sampler, 0, Budget(trials), policy=policy, start_up=4)
    return Study(path, space, settings, {"space": str(space.describe())})


def drive(found: Study, ends: int = 1000) -> list[TrialRecord]:
    for _ in range(ends):
        job = found.ask()
        if job is None:
            break
        found.finish(job, made_result(accuracy(job.configuration), seconds=(1.0, 1.0)))
    return found.trials()


@pytest.mark.parametrize(
    "sampler", [pytest.param(n, marks=GP) if "gp" in n else n for n in (*MODELS, *MODEL_FREE)]
)
def test_every_sampler_draws_what_exists_and_nothing_twice(sampler: str) -> None:
    trials = drive(study(None, sampler, 14))
    assert len(trials) == 14
    for trial in trials:
        configuration = trial.configuration
        assert SPACE.complete(configuration) == configuration
        assert (THAW_EVERY in configuration) == (configuration[UNFREEZING] == "gradual")
        assert (ROTATION in configuration) == configuration[AUGMENTED]
    assert len({str(t.configuration) for t in trials}) == 14
    # What both stages share is the baseline's: a branch takes it over.
    assert all(
        t.configuration[STANDARDISE] == trials[t.root].configuration[STANDARDISE] for t in trials
    )
    assert any(t.branch_of is not None for t in trials)


def test_a_search_that_is_broken_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    drive(study(tmp_path / "broken", "tpe", 12), 7)
    broken = drive(study(tmp_path / "broken", "tpe", 12))
    whole = drive(study(tmp_path / "whole", "tpe", 12))
    assert [t.configuration for t in broken] == [t.configuration for t in whole]


def trial(value: float, params: dict[str, Any]) -> FrozenTrial:
    distributions = {k: MANY.distributions[k] for k in params}
    return create_trial(value=value, params=params, distributions=distributions)


def ask(
    trials: list[FrozenTrial],
    space: Space,
    number: int = 40,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    conditions = space.drawn_conditions
    sampler = StageSampler("tpe", 3, number, space.distributions, given, 3, conditions=conditions)
    found = optuna.create_study(direction="maximize", sampler=sampler)
    found.add_trials(trials)
    return space.suggest(found.ask())


def test_the_model_of_a_branch_is_told_of_that_branch_alone() -> None:
    """Better trials of another choice must not make all values of this choice look equally bad."""
    on = [trial(0.4 + 0.1 * n, {STANDARDISE: True, DROPOUT: 0.1 * n, FROZEN: n}) for n in range(5)]

    def drawn(others: float) -> list[Any]:
        off = [trial(others, {STANDARDISE: False, DROPOUT: 0.1 * n}) for n in range(3)]
        given = {STANDARDISE: True, DROPOUT: 0.55}
        return [ask([*on, *off], MANY, number, given)[FROZEN] for number in range(40, 50)]

    assert drawn(0.1) == drawn(0.95)
    assert drawn(0.95).count(4) > 5
    given = {STANDARDISE: False, DROPOUT: 0.55}
    assert FROZEN not in ask(on, MANY, 40, given)


def test_the_last_configuration_that_is_left_is_drawn() -> None:
    """There are (1 + 4) * 2 configurations, with different hyperparameters."""
    every = [
        {STANDARDISE: on, UNFREEZING: "gradual", THAW_EVERY: n}
        for on in (True, False)
        for n in (1, 2, 3, 4)
    ] + [{STANDARDISE: on, UNFREEZING: "none"} for on in (True, False)]
    for left in (every[5], every[9]):
        drawn = ask([trial(0.5, values) for values in every if values != left], FEW)
        assert {k: v for k, v in drawn.items() if k in FEW.distributions} == left


def records(count: int) -> list[TrialRecord]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        values: dict[str, Any] = {
            STANDARDISE: bool(rng.integers(2)),
            DROPOUT: int(rng.integers(7)) / 10,
            UNFREEZING: ("none", "gradual")[rng.integers(2)],
            THAW_EVERY: int(rng.integers(1, 5)),
            AUGMENTED: bool(rng.integers(2)),
            ROTATION: float(rng.uniform(0, 20)),
        }
        configuration = SPACE.complete(values)
        value = accuracy(configuration) + rng.normal(0, 0.005)
        result = made_result(value)
        found.append(
            TrialRecord(number, "complete", "sampled", value, configuration, result, "", 1.0)
        )
    return found


def test_importance_weighs_what_only_some_trials_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shiftsearch.search.judging.importance._HALVES", 5)
    monkeypatch.setattr("shiftsearch.search.judging.importance._SHUFFLES", 9)
    trials = records(60)
    found = importances(trials, SPACE, 0)
    assert found is not None
    assert found.outside == 0
    by_name = {s.name: s for s in found.parameters}
    assert by_name.keys() == SPACE.distributions.keys()
    assert found.parameters[0].name == UNFREEZING
    gradual = sum(THAW_EVERY in t.configuration for t in trials)
    assert by_name[THAW_EVERY].independent == gradual < 60
    assert by_name[UNFREEZING].independent == 60
    assert by_name[STANDARDISE].independent == found.baselines == 14
    alike = [
        replace(t, configuration=SPACE.complete({DROPOUT: 0.1 * (t.number % 7)})) for t in trials
    ]
    never = importances(alike, SPACE, 0)
    assert never is not None
    assert THAW_EVERY not in {s.name for s in never.parameters}


def test_a_surrogate_tells_branches_apart() -> None:
    recording = [
        RecordedBaseline(
            {k: v for k, v in t.configuration.items() if not k.startswith("fine_tune.")},
            [1.0],
            {0: 0.3},
            [
                RecordedFineTune(
                    {k: v for k, v in t.configuration.items() if k.startswith("fine_tune.")},
                    0,
                    t.value or 0.0,
                    None,
                    1.0,
                )
            ],
        )
        for t in records(40)
    ]
    expected = Surrogate(recording, SPACE).drawn(0)
    same = {STANDARDISE: True, DROPOUT: 0.3, AUGMENTED: False}
    best = expected(SPACE.complete({**same, UNFREEZING: "gradual", THAW_EVERY: 3}))
    other = expected(SPACE.complete({**same, UNFREEZING: "none"}))
    assert best.value > other.value + 0.1
