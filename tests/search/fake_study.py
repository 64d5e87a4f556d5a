"""A small space, a fake objective and a driver without Ray, for the tests of this floor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.budget import Budget, FailurePolicy
from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import Study
from tests.made_results import made_result

SPACE = Space.parse(
    {
        "baseline": {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "dropout": {"low": 0, "high": 0.6, "step": 0.1},
            "batch_size": {"choices": [32, 64, 128]},
        },
        "fine_tune": {"frozen_layers": {"low": 0, "high": 4}},
    }
)
POINT = SPACE.point({"baseline": {"dropout": 0.2}, "fine_tune": {"frozen_layers": 0}}, "point")
POLICY = Policy(branches=4, first_baselines=2, rungs=())
IDENTITY = {"data": "0123", "protocol.holdout": "0.5", "space.baseline.dropout": "0 to 0.6"}


def open_study(
    path: Path,
    trials: int = 6,
    sampler: str = "tpe",
    seed: int = 0,
    points: tuple[Mapping[str, Value], ...] = (),
    failures: FailurePolicy | None = None,
    policy: Policy = POLICY,
    space: Space = SPACE,
    name: str = "tests",
    identity: Mapping[str, str] = IDENTITY,
    budget: Budget | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Study:
    settings = Settings(
        name,
        sampler,
        seed,
        budget or Budget(trials),
        points,
        failures or FailurePolicy(),
        policy,
        start_up=10,
    )
    return Study(path, space, settings, identity, clock)


def result_of(configuration: Mapping[str, Value]) -> ProtocolResult:
    """Best at a baseline dropout of 0.3 and no frozen layers."""
    dropout, frozen = configuration["baseline.dropout"], configuration["fine_tune.frozen_layers"]
    return made_result(0.9 - (dropout - 0.3) ** 2 - 0.02 * frozen, before=0.4)


def next_job(study: Study) -> Job:
    job = study.ask()
    assert job is not None
    return job


def drive(study: Study, ends: int = 1000) -> None:
    """Finish trials one after another until the study has no more, at most `ends` of them."""
    for _ in range(ends):
        job = study.ask()
        if job is None:
            return
        study.finish(job, result_of(job.configuration))


def summary(study: Study) -> list[tuple[int, str, str, float | None, dict[str, Value]]]:
    """Everything that must not depend on interruptions: all trials without their times."""

    def of(t: TrialRecord) -> tuple[int, str, str, float | None, dict[str, Value]]:
        return t.number, t.state, t.role, t.value, dict(t.configuration)

    return [of(trial) for trial in study.trials()]
