"""The study with shared baselines, rungs and budgets, driven by hand.

Numbers such as 2.15 name known defects of Ray Tune's ASHA, "halving" those of Optuna's
SuccessiveHalvingPruner, that must not occur here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import optuna
import pytest

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.study.budget import Budget, FailurePolicy, Trainings
from shiftsearch.search.study.journal import open_journal
from shiftsearch.search.study.records import (
    best_families,
    best_trials,
    stage_values,
    stored_trials,
)
from shiftsearch.search.study.study import Study
from tests.made_results import made_result
from tests.search.fake_study import SPACE, next_job, open_study, result_of, summary

pytestmark = pytest.mark.unit

WIDE = Space.parse(
    {
        "baseline": {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "dropout": {"low": 0, "high": 0.6, "step": 0.1},
        },
        "fine_tune": {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "frozen_layers": {"low": 0, "high": 4},
        },
    }
)
SHARING = Policy(branches=3, first_baselines=2, rungs=())
RUNGS = Policy(branches=3, first_baselines=3, rungs=(1, 2), keep=0.5, min_population=3)
ALONE = Policy(branches=1, rungs=())
ONE_BASELINE = Space.parse({"fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2}}})
ONE_POLICY = Policy(branches=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def baseline(configuration: Mapping[str, Value]) -> str:
    """To the last bit."""
    return json.dumps(stage_values(configuration, "baseline"))


def rung_value(job: Job, epochs: int) -> float:
    return result_of(job.configuration).test2_accuracy - 0.1 / epochs


def end(study: Study, job: Job) -> None:
    """Everything that a worker reports after its last rung."""
    study.share(job)
    study.finish(job, result_of(job.configuration))


def work(study: Study, job: Job, steps: int = 1000) -> bool:
    """A worker's first reports, at most this many; True if the job is closed."""
    for epochs in job.report_at.values():
        if steps == 0:
            return False
        steps -= 1
        if study.report(job, epochs, rung_value(job, epochs)):
            return True
    if steps == 0:
        return False
    study.share(job)
    if steps == 1:
        return False
    study.finish(job, result_of(job.configuration))
    return True


def drive(study: Study) -> None:
    while (job := study.ask()) is not None:
        work(study, job)


# ---- branches


def test_a_branch_has_its_root_s_baseline_and_a_fine_tune_of_its_own(path: Path) -> None:
    drive(study := open_study(path, 14, policy=SHARING, space=WIDE))
    trials = study.trials()
    roots = [t for t in trials if t.branch_of is None]
    assert len({baseline(t.configuration) for t in roots}) == len(roots) < 14
    for root in roots:
        family = [t for t in trials if t.root == root.number]
        assert {baseline(t.configuration) for t in family} == {baseline(root.configuration)}
        fine_tunes = [str(stage_values(t.configuration, "fine_tune")) for t in family]
        assert len(set(fine_tunes)) == len(family) <= 3
    for trial in trials[1:]:  # what the sampler learns from is what was tried
        values = open_journal(path).get_all_trials(0)[trial.number].params
        assert canonical(values) == {k: trial.configuration[k] for k in values}


def canonical(values: Mapping[str, Value]) -> dict[str, Value]:
    return {k: v for k, v in WIDE.complete(values).items() if k in values}


def test_the_reference_outside_the_space_is_a_root_as_it_is(path: Path) -> None:
    """The branch has the root's baseline, not the nearest one in the space."""
    space = Space.parse(
        {
            "baseline": {"learning_rate": {"low": 5e-3, "high": 1e-2}, "dropout": 0.25},
            "fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        }
    )
    study = open_study(path, 6, policy=SHARING, space=space)
    for value in (0.9, 0.1, 0.8, 0.8):
        job = next_job(study)
        study.share(job)
        study.finish(job, made_result(value))
    branches = [t for t in study.trials() if t.branch_of == 0]
    assert [t.number for t in branches] == [2, 3]
    assert {baseline(t.configuration) for t in branches} == {baseline(REFERENCE)}
    assert len({t.configuration["fine_tune.learning_rate"] for t in branches}) == 2


@pytest.mark.parametrize(
    "space",
    [
        {  # the reference's 64 lies outside, and is recorded as 32
            "batch_size": {"choices": [32, 256]},
            "weight_decay": {"low": 1e-3, "high": 1e-1, "when": {"batch_size": 32}},
        },
        {"optimiser": "sgd", "momentum": {"low": 0.5, "high": 0.95}},
    ],
)
def test_a_branch_of_the_reference_has_only_what_exists_in_it(
    path: Path, space: dict[str, object]
) -> None:
    rate = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
    study = open_study(
        path, 6, policy=SHARING, space=Space.parse({"baseline": space, "fine_tune": rate})
    )
    for value in (0.9, 0.1, 0.8, 0.8):
        job = next_job(study)
        study.share(job)
        study.finish(job, made_result(value))
    branches = [t for t in study.trials() if t.branch_of == 0]
    assert len(branches) == 2
    assert len({baseline(t.configuration) for t in (study.trial(0), *branches)}) == 1


def test_a_fine_tune_that_needs_another_baseline_does_not_exist_on_the_reference_s(
    path: Path,
) -> None:
    space = Space.parse(
        {
            "baseline.batch_size": {"choices": [32, 256]},
            "fine_tune": {
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
                "weight_decay": {"low": 1e-3, "high": 1, "when": {"baseline.batch_size": 32}},
            },
        }
    )
    study = open_study(path, 12, policy=SHARING, space=space)
    while (job := study.ask()) is not None:
        study.share(job)
        study.finish(job, made_result(0.9 if job.branch_of is None and job.number == 0 else 0.5))
    small = {t.configuration["baseline.batch_size"] for t in study.trials()}
    assert {32, 64} <= small
    for trial in study.trials():
        has_it = "fine_tune.weight_decay" in trial.configuration
        assert has_it == (trial.configuration["baseline.batch_size"] == 32)


def test_a_baseline_has_no_more_branches_than_there_are_fine_tunes(path: Path) -> None:
    """There are only five numbers of frozen layers; a sixth fine-tune would repeat one."""
    greedy = Policy(branches=100, first_baselines=1)
    study = open_study(path, 8, policy=greedy)
    drive(study)
    assert [t.root for t in study.trials()].count(0) == 5
    assert len({str(t.configuration) for t in study.trials()}) == 8
    fixed = Space.parse({"baseline": {"learning_rate": {"low": 1e-4, "high": 1e-2}}})
    drive(study := open_study(path.with_name("fixed"), 4, policy=greedy, space=fixed))
    assert [t.root for t in study.trials()] == [0, 1, 2, 3]


# ---- two trials, one baseline


def one_baseline(path: Path, trials: int = 6) -> Study:
    return open_study(path, trials, policy=ONE_POLICY, space=ONE_BASELINE)


def point(fine_tune: Mapping[str, Value]) -> dict[str, Value]:
    return SPACE.point({"fine_tune": dict(fine_tune)}, "point")


def test_the_second_trial_of_a_baseline_waits_and_another_is_asked(path: Path) -> None:
    same = (point({"frozen_layers": 0}), point({"frozen_layers": 4}))
    study = open_study(path, 6, points=same, policy=ALONE)
    first = next_job(study)
    other = next_job(study)
    assert (first.number, other.number) == (0, 3)
    study.share(first)
    waited = [next_job(study), next_job(study)]
    assert [j.number for j in waited] == [1, 2]
    assert [study.trials()[n].branch_of for n in (1, 2)] == [0, 0]
    assert waited[0].report_at == {}
    for job in (first, other, *waited):
        end(study, job)
    drive(study)
    assert [t.state for t in study.trials()] == ["complete"] * 6


@pytest.mark.parametrize("how", ["fail", "lost", "pruned"])
def test_a_trial_that_waited_in_vain_trains_its_baseline_itself(path: Path, how: str) -> None:
    policy = Policy(branches=1, rungs=(1,), keep=0.5, min_population=1)
    study = open_study(path, 6, policy=policy, space=ONE_BASELINE)
    first = next_job(study)
    assert study.ask() is None
    if how == "pruned":  # the reference never is, so another one has the baseline
        study.fail(first, "broken")
        first = next_job(study)
        population(study, first)
        assert study.report(first, 1, 0.1)
    elif how == "fail":
        study.fail(first, "broken")
    else:
        study.give_back(first, "node gone")
    second = next_job(study)
    assert study.trials()[second.number].branch_of is None
    assert tuple(second.report_at.values()) == (1,)
    if how == "lost":  # the roles are exchanged
        assert second.number == 1
        assert study.ask() is None
        study.share(second)
        resumed = {job.number: job for job in (next_job(study), next_job(study))}
        known = {"role": "reference", "branch_of": second.number}
        assert resumed[0] == Job("search", 0, 0, dict(first.configuration), **known)
        assert study.trials()[0].branch_of == 1
    else:
        end(study, second)
        drive(study)
        assert study.finished


def population(study: Study, job: Job) -> None:
    """A better value at the rung, of a trial that is waiting for the job's baseline."""
    waiting = next(t for t in study.trials() if t.state == "running" and t.number != job.number)

    study._stored.report(waiting.number, 1, 0.9)


def test_a_restart_does_not_forget_who_waits(path: Path) -> None:
    study = one_baseline(path)
    first = next_job(study)
    assert study.ask() is None
    again = one_baseline(path)
    assert not again.finished
    assert next_job(again) == first
    assert again.ask() is None
    again.share(first)
    second = next_job(again)
    assert (second.number, again.trials()[1].branch_of) == (1, 0)
    # Both die; the baseline is there, so nobody waits any more.
    third = one_baseline(path)
    assert [next_job(third).number, next_job(third).number] == [0, 1]
    assert third.trials()[1].branch_of == 0


def test_few_trials_wait_when_all_have_one_baseline(path: Path) -> None:
    """A later trial is chosen knowing more results, so not all are asked for at once."""
    study = one_baseline(path, 20)
    first = next_job(study)
    for _ in range(10):  # an idle worker asks again and again
        assert study.ask() is None
    assert sum(t.state == "running" for t in study.trials()) <= 3
    end(study, first)
    drive(study)
    assert study.finished
    assert sum(t.state == "complete" for t in study.trials()) == 20


@pytest.mark.slow(reason="many searches")
def test_no_order_of_events_stops_a_search_before_its_end(tmp_path: Path) -> None:
    """Workers that finish, fail, die and come back in any order, all wanting few baselines."""
    import random

    space = Space.parse(
        {
            "baseline": {"dropout": {"choices": [0.1, 0.5]}},
            "fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2}},
        }
    )
    policy = Policy(branches=2, first_baselines=1, rungs=(1,), keep=0.5, min_population=2)
    patient = FailurePolicy(min_ended=1000)
    for seed in range(12):
        rng, path = random.Random(seed), tmp_path / f"{seed}"
        study = open_study(path, 10, "random", seed, (), patient, policy, space)
        jobs: list[Job] = []
        for _ in range(1000):
            if rng.random() < 0.02:  # the driver dies
                study = open_study(path, 10, "random", seed, (), patient, policy, space)
                jobs = []
            while len(jobs) < 3 and (job := study.ask()) is not None:
                jobs.append(job)
            if not jobs:
                break
            job = jobs.pop(rng.randrange(len(jobs)))
            match rng.choice(["finish", "finish", "share", "fail", "lost", "rung"]):
                case "finish":
                    end(study, job)
                case "fail":
                    study.fail(job, "broken")
                case "lost":
                    study.give_back(job, "gone")
                case "share":
                    study.share(job)
                    jobs.append(job)
                case "rung":
                    if not (job.report_at.values() and study.report(job, 1, rng.random())):
                        jobs.append(job)
        assert study.finished
        assert sum(t.state in ("complete", "pruned") for t in study.trials()) == 10


# ---- rungs


def test_2_15_a_killed_search_with_branches_and_rungs_equals_the_undisturbed(
    tmp_path: Path,
) -> None:
    """2.15: killed after each report of a worker; states, values and rungs are the same."""
    drive(undisturbed := open_study(tmp_path / "a", 16, policy=RUNGS, space=WIDE))
    path, deaths = tmp_path / "b", 0
    killed = open_study(path, 16, policy=RUNGS, space=WIDE)
    while (job := killed.ask()) is not None:
        if not work(killed, job, deaths % 5):
            killed = open_study(path, 16, policy=RUNGS, space=WIDE)
        deaths += 1
        assert deaths < 200
    assert summary(killed) == summary(undisturbed)
    assert [t.intermediate for t in killed.trials()] == [
        t.intermediate for t in undisturbed.trials()
    ]
    assert [t.root for t in killed.trials()] == [t.root for t in undisturbed.trials()]
    assert {"complete", "pruned"} == {t.state for t in killed.trials()}
    assert len({t.root for t in killed.trials()}) < 16


def reached(study: Study, *values: float) -> list[Job]:
    """Trials that reach the first rung one after another and stay open there."""
    jobs = [next_job(study) for _ in values]
    for job, value in zip(jobs, values, strict=True):
        study.report(job, 1, value)
    return jobs


@pytest.mark.parametrize("restart", [False, True])
def test_halving_a_rung_asked_twice_is_answered_the_same(path: Path, restart: bool) -> None:
    """Halving's memory says stop, then continue; here others that came since change nothing."""
    policy = Policy(branches=1, rungs=(1, 2), keep=0.5, min_population=3)
    study = open_study(path, 20, policy=policy)
    jobs = reached(study, 0.5, 0.6, 0.7)
    goes_on = jobs[2]
    reached(study, 0.8, 0.9, 0.95)
    if restart:
        study = open_study(path, 20, policy=policy)
    assert not study.report(goes_on, 1, 0.7)  # now the fourth of six, but it was let go on
    states = {t.number: t.state for t in study.trials()}
    assert [states[j.number] for j in jobs] == ["running"] * 3


def test_a_stop_that_was_decided_before_a_crash_stands(path: Path) -> None:
    """The driver died after the decision, before the trial was closed."""
    policy = Policy(branches=1, rungs=(1,), keep=0.5, min_population=3)
    study = open_study(path, 20, policy=policy)
    reached(study, 0.5, 0.6)
    job = next_job(study)
    study._stored.set(job.number, "stopped_at_1", True)
    again = open_study(path, 20, policy=policy)
    resumed = [next_job(again) for _ in range(3)][2]
    assert resumed == job
    assert again.report(resumed, 1, 0.99)
    assert again.trials()[job.number].state == "pruned"


def test_a_stopped_trial_is_pruned_with_its_values_and_done(path: Path) -> None:
    """2.1: any Optuna program reads its state and values; it is never best."""
    policy = Policy(branches=1, rungs=(1, 3), keep=0.5, min_population=2)
    study = open_study(path, 3, policy=policy)
    first, second = next_job(study), next_job(study)
    assert tuple(first.report_at.values()) == (1, 3)
    assert not study.report(first, 1, 0.6)
    assert not study.report(second, 1, 0.7)
    assert not study.report(first, 3, 0.9)  # the reference
    assert study.report(second, 3, 0.8)
    assert study.missing == 2
    end(study, first)
    end(study, next_job(study))
    assert study.finished
    stored = optuna.load_study(study_name="tests", storage=open_journal(path)).trials[1]
    assert stored.state == optuna.trial.TrialState.PRUNED
    assert stored.intermediate_values == {1: 0.7, 3: 0.8}
    record = stored_trials(path)[1]
    assert (record.value, record.last_value, record.intermediate) == (None, 0.8, {1: 0.7, 3: 0.8})
    assert record.reason == "stopped at the rung of 3 epochs: 0.8000"
    assert 1 not in [t.number for t in best_trials(study.trials(), 5)]
    with pytest.raises(ValueError, match="PRUNED"):
        optuna.load_study(study_name="tests", storage=open_journal(path)).tell(1, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_2_18a_a_value_at_a_rung_that_is_not_finite_ends_the_trial(
    path: Path, value: float
) -> None:
    """2.18a: ASHA never stops a NaN; it is no number in the journal, and counts at no rung."""
    study = open_study(path, 3, policy=RUNGS)
    job = next_job(study)
    assert study.report(job, 1, value)
    (trial, *_) = study.trials()
    assert (trial.state, trial.intermediate) == ("failed", {})
    assert trial.reason == f"test2_accuracy at 1 epochs is {value}, but must be finite"
    assert "NaN" not in path.read_text()
    assert "Infinity" not in path.read_text()
    assert next_job(study).number == 1


# ---- budgets


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_seconds_stop_asking_let_open_trials_end_and_survive_a_restart(path: Path) -> None:
    clock = Clock()
    budget = Budget(20, seconds=10.0)
    study = open_study(path, policy=ALONE, budget=budget, clock=clock)
    clock.now += 50  # before the first question nothing is spent
    first, second = next_job(study), next_job(study)
    clock.now += 9
    end(study, first)
    third = next_job(study)
    clock.now += 1
    assert study.ask() is None
    assert not study.finished
    assert study.stop_reason == "the budget is spent"
    end(study, second)
    assert not study.finished
    end(study, third)
    assert study.finished
    later = Clock()
    again = open_study(path, policy=ALONE, budget=budget, clock=later)
    assert again.finished
    assert again.ask() is None
    more = open_study(path, policy=ALONE, budget=Budget(20, seconds=12.0), clock=later)
    job = next_job(more)
    later.now += 2
    assert more.ask() is None  # 10 s before, 2 s now
    end(more, job)
    assert more.finished


def test_trials_that_were_handed_out_are_done_after_a_restart_on_a_spent_budget(
    path: Path,
) -> None:
    clock = Clock()
    budget = Budget(20, seconds=10.0)
    study = open_study(path, policy=ALONE, budget=budget, clock=clock)
    first, second = next_job(study), next_job(study)
    clock.now += 11
    end(study, first)
    again = open_study(path, policy=ALONE, budget=budget, clock=clock)
    assert not again.finished
    assert again.ask() == second
    end(again, second)
    assert again.finished


def test_trainings_count_a_branch_as_its_fine_tune(path: Path) -> None:
    """A whole protocol takes 3 s, a fine-tune of it 1 s."""
    budget = Budget(20, trainings=3.0)
    study = open_study(path, policy=Policy(branches=3, first_baselines=1), budget=budget)
    for count in (1, 1 + 1 / 3, 1 + 2 / 3, 2 + 2 / 3, 3.0):
        assert not study.stop_reason
        end(study, next_job(study))
        assert Trainings(study.trials()).total == pytest.approx(count)
    assert study.stop_reason == "the budget is spent"
    assert study.finished
    again = open_study(path, policy=Policy(branches=3, first_baselines=1), budget=budget)
    assert again.finished


def test_trainings_count_rungs_and_what_a_stopped_trial_trained(path: Path) -> None:
    """Baselines of 4 epochs take 2 s, each fine-tune 1 s."""
    policy = Policy(branches=1, rungs=(1, 2), keep=0.5, min_population=2)
    study = open_study(path, policy=policy, budget=Budget(20, trainings=100.0))
    first, second, third = (next_job(study) for _ in range(3))
    for epochs in (1, 2):
        study.report(first, epochs, 0.8)
    end(study, first)
    assert Trainings(study.trials()).total == pytest.approx((2 + 3 * 1) / 3)
    assert not study.report(second, 1, 0.9)
    assert study.report(second, 2, 0.1)
    assert Trainings(study.trials()).total == pytest.approx((2 + 3 + 1 + 2) / 3)
    study.fail(third, "broken")
    assert Trainings(study.trials()).total == pytest.approx((2 + 3 + 1 + 2) / 3)


def test_a_search_ends_when_more_trials_gain_less_than_the_noise(path: Path) -> None:
    """Only once the noise is known; open trials end, and the reason says by how much."""
    study = open_study(path, 60, "random", policy=ALONE)
    jobs = [next_job(study) for _ in range(26)]
    for n, job in enumerate(jobs[:25]):
        study.finish(job, made_result(0.9 - 0.0001 * n))
    assert study.stop_reason == ""
    study.ending.noise = 1e-6
    assert study.stop_reason == ""
    study.ending.noise = 0.05
    assert study.stop_reason.startswith("more trials are expected to gain at most 0.00")
    assert study.stop_reason.endswith("less than the noise between seeds, 0.0500")
    assert study.ask() is None
    assert not study.finished
    end(study, jobs[25])
    assert study.finished


def test_the_best_of_each_baseline_comes_before_the_second_best_of_one(path: Path) -> None:
    """The retrained configurations must not all depend on the luck of one baseline."""
    drive(study := open_study(path, 14, policy=SHARING, space=WIDE))
    trials = study.trials()
    roots = len({t.root for t in trials})
    chosen = best_families(trials, roots + 2)
    assert len({t.root for t in chosen[:roots]}) == roots
    assert chosen[0].number == best_trials(study.trials())[0].number
    assert len({t.number for t in chosen}) == roots + 2
