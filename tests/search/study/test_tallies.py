"""Tallies give the same answers as reading every trial, without reading them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import optuna
import pytest

import shiftsearch.search.study.stored_study
from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.budget import Budget, FailurePolicy, Trainings
from shiftsearch.search.study.records import TrialRecord, stage_values, stored_trials
from shiftsearch.search.study.study import Study
from tests.made_results import made_result, made_stage
from tests.search.fake_study import next_job, open_study, result_of

pytestmark = pytest.mark.unit

SPACE = Space.parse(
    {
        "baseline": {"dropout": {"choices": [0.1, 0.3, 0.5]}},
        "fine_tune": {
            "learning_rate": {"low": 1e-4, "high": 1e-2},
            "frozen_layers": {"low": 0, "high": 4},
        },
    }
)
POLICY = Policy(branches=3, first_baselines=2, rungs=(1, 2), keep=0.5, min_population=2)
POINTS = tuple(
    SPACE.point({"baseline.dropout": 0.1, "fine_tune.frozen_layers": n}, "point") for n in (0, 4)
)
WANTED = 14


def opened(path: Path, seed: int) -> Study:
    """A study with everything that is counted: points, rungs, failures, a budget of trainings."""
    budget = Budget(WANTED, trainings=500.0)
    patient = FailurePolicy(min_ended=1000)
    return open_study(path, WANTED, "random", seed, POINTS, patient, POLICY, SPACE, budget=budget)


# ---- the plain looks


def scanned_root(
    trials: Sequence[TrialRecord], number: int, configuration: Mapping[str, Value], open_: set[int]
) -> int | None:
    wanted = stage_values(configuration, "baseline")
    for trial in trials:
        if trial.number == number or trial.branch_of is not None:
            continue
        if stage_values(trial.configuration, "baseline") != wanted:
            continue
        if trial.has_baseline or trial.number in open_:
            return trial.number
    return None


def scanned_branch(trials: Sequence[TrialRecord], policy: Policy) -> int | None:
    begun = [t for t in trials if t.state != "waiting"]
    roots = [t for t in begun if t.branch_of is None and t.state != "failed"]
    if policy.branches < 2 or len(roots) < policy.first_baselines:
        return None
    ranks = []
    for root in roots:
        family = [t for t in begun if t.root == root.number]
        values = [t.value for t in family if t.value is not None]
        if root.has_baseline and values:
            ranks.append((fmean(values), -root.number, len(family)))
    if not ranks:
        return None
    _, best, size = max(ranks)
    return -best if size < policy.branches else None


def scanned_better(trials: Sequence[TrialRecord], epochs: int, value: float) -> tuple[int, int]:
    values = [
        t.intermediate[epochs] for t in trials if t.state != "failed" and epochs in t.intermediate
    ]
    return sum(v > value for v in values), len(values)


def scanned_trainings(records: Sequence[TrialRecord]) -> float:
    whole = [r.result for r in records if r.branch_of is None and r.result is not None]
    if not whole:
        return 0.0
    baseline = fmean(result.baseline.seconds for result in whole)
    fine_tune = fmean(result.fine_tune.seconds for result in whole)
    spent = 0.0
    for record in records:
        if record.state not in ("complete", "pruned"):
            continue
        spent += record.trained_seconds or 0.0
        spent += fine_tune * len(record.intermediate) * (record.branch_of is None)
        if record.state == "pruned" and record.intermediate:
            epochs = fmean(result.baseline.epochs for result in whole)
            spent += baseline * min(1.0, max(record.intermediate) / epochs)
    return spent / ((baseline + fine_tune) or 1.0)


def compare(study: Study, path: Path) -> None:
    """Every answer of the study, and the same answers from the journal, read again."""
    trials = stored_trials(path)
    assert study.trials() == trials
    assert study._policy.branch_of(study._families) == scanned_branch(trials, study._policy)
    for trial in trials:
        assert study.trial(trial.number) == trial
        if trial.configuration:
            asked = (trial.configuration, trial.number, study._open)
            scanned = scanned_root(trials, trial.number, trial.configuration, study._open)
            assert study._baselines.root(*asked) == scanned
            same = [t.number for t in trials if t.configuration == trial.configuration]
            assert study._known.first(trial.configuration) == same[0]
        for epochs, value in trial.intermediate.items():
            values = study._intermediate
            found = values.better(epochs, value), values.count(epochs)
            assert found == scanned_better(trials, epochs, value)
    done = sum(t.state in ("complete", "pruned") for t in trials)
    assert study.missing == WANTED - done
    total = study.ending._trainings.total
    assert total == Trainings(trials).total
    assert total == pytest.approx(scanned_trainings(trials), rel=1e-12)


def happen(study: Study, job: Job, rng: random.Random) -> bool:
    """A random report of a worker; returns whether it still has the job."""
    match rng.choice(["finish", "finish", "share", "fail", "lost", "rung"]):
        case "finish":
            baseline = made_stage(0.5, 0.4, rng.randint(2, 6), rng.random())
            study.finish(job, replace(made_result(rng.random()), baseline=baseline))
        case "fail":
            study.fail(job, "broken")
        case "lost":
            study.give_back(job, "gone")
        case "share":
            study.share(job)
            return True
        case "rung":
            known = study.trial(job.number).intermediate
            left = [e for e in job.report_at.values() if e not in known]
            return not (left and study.report(job, left[0], rng.random()))
    return False


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_up_to_date_equals_a_look_at_every_trial(tmp_path: Path, seed: int) -> None:
    """Workers that finish, fail, die and stop at rungs, drivers that die, steered points."""
    rng, path = random.Random(seed), tmp_path / "study.journal"
    study, jobs = opened(path, seed), list[Job]()
    for _ in range(40):
        if rng.random() < 0.05:  # the driver dies
            study, jobs = opened(path, seed), []
        if rng.random() < 0.05 and study.missing > 6:
            point = {"baseline.dropout": 0.3, "fine_tune.learning_rate": rng.random() / 100}
            study.enqueue(SPACE.point(point, "point"))
        while len(jobs) < 3 and (job := study.ask()) is not None:
            jobs.append(job)
        if not jobs:
            break
        job = jobs.pop(rng.randrange(len(jobs)))
        if happen(study, job, rng):
            jobs.append(job)
        compare(study, path)
    states = {t.state for t in study.trials()}
    assert states >= {"complete", "failed"}
    assert any(t.branch_of is not None for t in study.trials())


def test_a_question_looks_at_no_more_trials_late_than_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the study nor Optuna reads all trials; the sampler here learns nothing from them."""
    study = open_study(tmp_path / "study.journal", 40, "random")
    looks = 0

    def counted(original: object) -> object:
        def call(*args: object, **options: object) -> object:
            nonlocal looks
            looks += 1
            return original(*args, **options)  # type: ignore[operator]

        return call

    storage = optuna.storages.JournalStorage
    monkeypatch.setattr(storage, "get_all_trials", counted(storage.get_all_trials))
    record_of = shiftsearch.search.study.stored_study.record_of
    monkeypatch.setattr(shiftsearch.search.study.stored_study, "record_of", counted(record_of))
    costs = []
    for _ in range(24):
        before = looks
        job = next_job(study)
        study.share(job)
        study.finish(job, result_of(job.configuration))
        assert not study.stop_reason
        costs.append(looks - before)
    assert max(costs[12:]) == max(costs[:12])
    assert max(costs) < 10


def test_equal_trainings_are_counted_without_rounding(tmp_path: Path) -> None:
    """Ten whole trainings use up a budget of ten; a sum of floats was slightly less."""
    budget = Budget(20, trainings=10)
    study = open_study(tmp_path / "journal", policy=Policy(branches=1), budget=budget)
    while (job := study.ask()) is not None:
        study.share(job)
        study.finish(job, made_result(0.5, seconds=(0.1, 0.1)))
    assert len(study.trials()) == 10
