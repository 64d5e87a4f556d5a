"""The study: the same trials after any kill, failures counted apart, no silent change.

Numbers such as 2.5 name known defects of Ray Tune with OptunaSearch that must not occur here.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from shiftsearch.model.result import SplitResult
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.study.budget import FailurePolicy
from shiftsearch.search.study.journal import open_journal
from shiftsearch.search.study.records import best_trials, record_of, stored_trials
from shiftsearch.search.study.stored_study import StudyMismatch
from shiftsearch.search.study.study import MAX_LOSSES, Study
from tests.made_results import made_result, made_stage
from tests.search.fake_study import (
    IDENTITY,
    POINT,
    SPACE,
    drive,
    next_job,
    open_study,
    result_of,
    summary,
)

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def optuna_trials(path: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials as any Optuna program reads them."""
    (study,) = optuna.get_all_study_summaries(open_journal(path))
    return optuna.load_study(study_name=study.study_name, storage=open_journal(path)).trials


# ---- order and number of trials


def test_the_reference_is_first_then_the_points_then_samples(path: Path) -> None:
    study = open_study(path, points=(POINT,))
    assert dict(next_job(study).configuration) == dict(REFERENCE)
    assert dict(next_job(study).configuration) == POINT
    drive(study)
    assert [t.role for t in study.trials()] == ["reference", "point"] + ["sampled"] * 4


def test_the_reference_outside_the_space_is_tried_as_it_is(path: Path) -> None:
    space = Space.parse(
        {"baseline": {"learning_rate": {"low": 2e-3, "high": 1e-2}, "dropout": 0.25}}
    )
    study = open_study(path, trials=3, space=space)
    drive(study)
    first, *others = study.trials()
    assert dict(first.configuration) == dict(REFERENCE)
    assert all(t.configuration["baseline.learning_rate"] >= 2e-3 for t in others)
    assert all(t.configuration["baseline.dropout"] == 0.25 for t in others)


def test_the_reference_alone_when_nothing_is_searched(path: Path) -> None:
    study = open_study(path, trials=1, space=Space.parse({}))
    drive(study)
    assert study.finished
    assert [(t.role, t.state) for t in study.trials()] == [("reference", "complete")]


def test_no_more_are_asked_than_are_missing(path: Path) -> None:
    """Open trials count as complete, so that never one too many is asked for."""
    study = open_study(path, trials=3)
    jobs = [next_job(study) for _ in range(3)]
    assert study.ask() is None
    assert not study.finished
    study.fail(jobs[0], "broken")
    extra = next_job(study)  # failed ones are counted apart
    assert extra.number == 3
    assert study.ask() is None
    for job in [*jobs[1:], extra]:
        study.finish(job, result_of(job.configuration))
    assert study.finished
    assert study.ask() is None
    states = [t.state for t in study.trials()]
    assert states == ["failed", "complete", "complete", "complete"]


def test_pruned_trials_count_as_done_but_are_never_best(path: Path) -> None:
    """2.1: a trial that was stopped early must not win by its partial value."""
    study = open_study(path, trials=3)
    for value in (0.5, 0.6):
        study.finish(next_job(study), made_result(value))
    job = next_job(study)
    storage = open_journal(path)
    stopped = optuna.load_study(study_name="tests", storage=storage)
    trial_id = storage.get_all_trials(0)[job.number]._trial_id
    storage.set_trial_intermediate_value(trial_id, 1, 0.99)
    stopped.tell(job.number, state=optuna.trial.TrialState.PRUNED)
    again = open_study(path, trials=3)
    assert again.finished
    assert [t.state for t in again.trials()] == ["complete", "complete", "pruned"]
    assert again.trials()[2].value is None
    assert [t.number for t in best_trials(again.trials(), 3)] == [1, 0]


def test_best_are_distinct_configurations_ties_by_number(path: Path) -> None:
    """2.19a, 2.19d: best by the final record; equal configurations once, ties to the first."""
    study = open_study(path, trials=4, points=(POINT, {**POINT, "baseline.dropout": 0.1}))
    for value in (0.7, 0.8, 0.8, 0.9):
        study.finish(next_job(study), made_result(value))
    assert [t.number for t in best_trials(study.trials(), 10)] == [3, 1, 2, 0]
    nothing_searched = open_study(path.with_name("other"), trials=4, space=Space.parse({}))
    for value in (0.7, 0.8, 0.8, 0.6):
        nothing_searched.finish(next_job(nothing_searched), made_result(value))
    assert [t.number for t in best_trials(nothing_searched.trials(), 10)] == [1]


def test_a_point_given_twice_is_tried_once(path: Path) -> None:
    drive(study := open_study(path, trials=4, points=(POINT, dict(REFERENCE), POINT)))
    assert [t.role for t in study.trials()] == ["reference", "point", "sampled", "sampled"]


# ---- interruption


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
@pytest.mark.slow(reason="the first Gaussian process of a session imports much of torch")
def test_2_14_a_killed_search_equals_the_undisturbed_one(tmp_path: Path, sampler: str) -> None:
    """At concurrency 1, trial by trial: same numbers, states, configurations and values."""
    trials = 12  # past the start-up of each sampler
    undisturbed = open_study(tmp_path / "a.journal", trials, sampler)
    drive(undisturbed)
    killed = open_study(tmp_path / "b.journal", trials, sampler)
    for life in range(trials):
        drive(killed, life % 3)
        if life % 2:
            killed.ask()  # and dies with the trial open
        killed = open_study(tmp_path / "b.journal", trials, sampler)
    drive(killed)
    assert summary(killed) == summary(undisturbed)
    assert len(killed.trials()) == trials
    sampled = [tuple(t.configuration.items()) for t in killed.trials()[1:]]
    assert len(set(sampled)) > trials - 4  # it does search


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("drawn", [0, 1, 3])
def test_a_crash_inside_ask_changes_no_draw(path: Path, drawn: int, sampler: str) -> None:
    """Only some parameters were drawn when the driver died: they stay, the others follow."""
    study = open_study(path, sampler=sampler)
    drive(study, 4)
    before = path.read_bytes()
    asked = next_job(study)
    lines = path.read_bytes()[len(before) :].splitlines(keepends=True)
    # Created, parameters, configuration, whose baseline it takes up.
    assert len(lines) == 3 + len(SPACE.distributions)
    path.write_bytes(before + b"".join(lines[: 1 + drawn]))
    again = open_study(path, sampler=sampler)
    resumed = next_job(again)
    assert resumed == asked
    again.finish(resumed, result_of(resumed.configuration))
    drive(again)
    assert [t.state for t in again.trials()] == ["complete"] * 6


@pytest.mark.parametrize("drawn", [0, 2])
def test_a_crash_while_the_reference_is_asked_for_loses_no_parameter(
    path: Path, drawn: int
) -> None:
    """Samplers learn from a trial's parameters in Optuna, not from its configuration."""
    study = open_study(path)
    before = path.read_bytes()
    asked = next_job(study)
    lines = path.read_bytes()[len(before) :].splitlines(keepends=True)
    assert len(lines) == 1 + len(SPACE.distributions)  # taken up, parameters
    parameters = optuna_trials(path)[0].params
    path.write_bytes(before + b"".join(lines[: 1 + drawn]))
    assert next_job(open_study(path)) == asked
    assert optuna_trials(path)[0].params == parameters


def test_2_5_a_running_trial_without_a_worker_is_handed_out_again(path: Path) -> None:
    """2.4, 2.5, 2.16: under its own number and configuration; no zombie, no second copy."""
    study = open_study(path, trials=4)
    drive(study, 1)
    open_jobs = [next_job(study), next_job(study)]
    again = open_study(path, trials=4)
    assert not again.finished
    resumed = [next_job(again), next_job(again)]
    assert resumed == open_jobs
    for job in reversed(resumed):
        again.finish(job, result_of(job.configuration))
    drive(again)
    assert again.finished
    assert [t.state for t in again.trials()] == ["complete"] * 4
    assert [t.number for t in again.trials()] == [0, 1, 2, 3]


def test_2_5_losing_the_driver_counts_no_loss_of_the_worker(path: Path) -> None:
    for _ in range(MAX_LOSSES + 3):
        study = open_study(path, trials=2)
        assert next_job(study).number == 0
    drive(study := open_study(path, trials=2))
    assert [t.state for t in study.trials()] == ["complete"] * 2


def test_a_lost_worker_gives_the_trial_back_three_times_then_it_fails(path: Path) -> None:
    study = open_study(path, trials=2)
    drive(study, 1)
    first = next_job(study)
    for loss in range(MAX_LOSSES):
        study.give_back(first, f"killed {loss}")
        if loss == 1:
            study = open_study(path, trials=2)  # the count outlives the driver
        assert study.ask() == first
    study.give_back(first, "killed for good")
    assert study.trials()[1].state == "failed"
    assert "killed for good" in study.trials()[1].reason
    study.fail(next_job(study), "lost its worker 4 times; last: a learning rate of 1e9")
    assert [t.lost for t in study.trials()[:3]] == [False, True, False]
    assert [t.lost for t in stored_trials(path)[:3]] == [False, True, False]
    other = next_job(study)
    assert other.number == 3


@pytest.mark.parametrize(
    ("attributes", "lost"),
    [
        ({"losses": 3, "reason": "lost its worker 4 times; last: worker lost: x"}, True),
        ({"losses": 3, "reason": "baseline epoch 1: training loss nan"}, False),
        ({"losses": 1, "reason": "lost its worker 4 times; last: x"}, False),
        ({"reason": "loss nan"}, False),
    ],
)
def test_a_journal_of_the_first_version_tells_which_trials_were_lost(
    attributes: dict[str, Any], lost: bool
) -> None:
    failed = optuna.trial.TrialState.FAIL
    assert record_of(optuna.trial.create_trial(state=failed, user_attrs=attributes)).lost is lost


def test_2_9_reopening_enqueues_nothing_again(path: Path) -> None:
    """2.9: one reference and one of each point, however often the run is continued."""
    for life in range(5):
        drive(open_study(path, points=(POINT,)), int(life > 1))
    drive(study := open_study(path, points=(POINT,)))
    roles = [t.role for t in study.trials()]
    assert roles == ["reference", "point"] + ["sampled"] * 4


def test_points_added_when_a_run_is_extended_are_tried_next(path: Path) -> None:
    drive(open_study(path, trials=3, points=(POINT,)))
    other = {**POINT, "baseline.dropout": 0.4}
    drive(study := open_study(path, trials=6, points=(other, POINT)))
    roles = ["reference", "point", "sampled", "point", "sampled", "sampled"]
    assert [t.role for t in study.trials()] == roles
    assert dict(study.trials()[3].configuration) == other


def test_extending_equals_asking_for_more_at_once(tmp_path: Path) -> None:
    drive(whole := open_study(tmp_path / "whole.journal", trials=8))
    drive(part := open_study(tmp_path / "part.journal", trials=5))
    assert part.finished
    drive(extended := open_study(tmp_path / "part.journal", trials=8))
    assert summary(extended) == summary(whole)
    assert open_study(tmp_path / "part.journal", trials=5).finished  # asking for less adds none


# ---- seeds


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
@pytest.mark.slow(reason="the first Gaussian process of a session imports much of torch")
def test_2_11_a_restart_does_not_repeat_start_up_suggestions(path: Path, sampler: str) -> None:
    """A fresh process per trial: as many configurations as trials, none twice."""
    space = Space.parse(
        {
            "baseline": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
            "fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        }
    )
    for _ in range(9):
        drive(open_study(path, 9, sampler, space=space), 1)
    trials = open_study(path, 9, sampler, space=space).trials()
    assert len(trials) == 9
    assert len({tuple(t.configuration.items()) for t in trials}) == 9


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "random"])
def test_2_11_a_failed_start_is_not_tried_again_the_same(path: Path, sampler: str) -> None:
    """While nothing is complete, every sampler draws at random: other draws each time."""
    study = open_study(path, 9, sampler, failures=FailurePolicy(min_ended=100))
    for _ in range(6):
        study.fail(next_job(study), "broken")
    rates = {t.configuration["baseline.learning_rate"] for t in study.trials()}
    assert len(rates) == 6


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
@pytest.mark.slow(reason="the first Gaussian process of a session imports much of torch")
def test_other_study_seeds_give_other_searches(tmp_path: Path, sampler: str) -> None:
    rates = []
    for seed in (0, 1):
        drive(study := open_study(tmp_path / f"{seed}.journal", 3, sampler, seed))
        rates.append([t.configuration["baseline.learning_rate"] for t in study.trials()[1:]])
    assert not set(rates[0]) & set(rates[1])


@pytest.mark.slow(reason="40 questions to a sampler that has learnt something")
def test_tpe_finds_more_than_chance(tmp_path: Path) -> None:
    """The history does reach the sampler: of the last ten, most are near the optimum."""
    means = {}
    for sampler in ("tpe", "random"):
        path = tmp_path / f"{sampler}.journal"
        drive(study := open_study(path, 40, sampler, policy=Policy(branches=1)))
        values = [t.value or 0.0 for t in study.trials()[-10:]]
        means[sampler] = sum(values) / 10
    assert means["tpe"] > means["random"] + 0.02


def test_an_unknown_sampler_is_refused_by_name(path: Path) -> None:
    study = open_study(path, sampler="annealing")
    with pytest.raises(ValueError, match="'annealing', but must be one of tpe, "):
        study.ask()


@pytest.mark.slow(reason="asks every sampler beyond its start-up")
def test_samplers_say_nothing(path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """No experimental warnings in the middle of a user's progress table."""
    for sampler in ("tpe", "gp", "qmc", "random"):
        drive(open_study(path.with_name(sampler), 12, sampler))
    assert [str(w.message) for w in recwarn] == []


# ---- values and failures


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_2_3_a_value_that_is_not_finite_fails_the_trial(path: Path, value: float) -> None:
    """2.3: the trial ends as FAIL with its reason, not RUNNING for ever or COMPLETE with inf."""
    study = open_study(path, trials=2)
    study.finish(next_job(study), made_result(value))
    (trial, *_) = study.trials()
    assert trial.state == "failed"
    assert trial.reason == f"test2_accuracy is {value}, but must be finite"
    assert study.missing == 2
    drive(study)
    assert sorted(t.number for t in best_trials(study.trials(), 5)) == [1, 2]
    assert valid_json(path)


def test_2_3_nothing_non_finite_is_written_with_a_result(path: Path) -> None:
    study = open_study(path, trials=2)
    diverged = replace(made_stage(0.5, 0.4), test=SplitResult(60, 0.5, math.nan))
    study.finish(next_job(study), replace(made_result(0.5), baseline=diverged))
    assert study.trials()[0].state == "failed"
    assert "not finite" in study.trials()[0].reason
    assert valid_json(path)


def valid_json(path: Path) -> bool:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {path}")

    return all(
        json.loads(line, parse_constant=refuse) is not None
        for line in path.read_text().splitlines()
    )


def test_2_12_a_trial_carries_what_was_tried_and_what_became_of_it(path: Path) -> None:
    """Readable by any Optuna program, without this one's memory."""
    study = open_study(path, trials=2)
    first = next_job(study)
    study.give_back(first, "node gone")
    assert study.ask() == first
    study.finish(first, result_of(first.configuration))
    study.fail(next_job(study), "RuntimeError: broken")
    reference, other = optuna_trials(path)
    assert reference.user_attrs == {
        "role": "reference",
        "configuration": dict(REFERENCE),
        "losses": 1,
        "result": result_of(REFERENCE).to_json(),
        "stage_steps": [4, 7],
    }
    assert reference.value == result_of(REFERENCE).test2_accuracy
    assert other.state.name == "FAIL"
    assert other.user_attrs["reason"] == "RuntimeError: broken"
    assert SPACE.complete(other.params) == other.user_attrs["configuration"]


def test_configurations_read_back_are_the_same_text(path: Path) -> None:
    """A reopened study hands out the bytes that were hashed before: types and all."""
    study = open_study(path, trials=8)
    texts = []
    for _ in range(8):
        texts.append(json.dumps(dict(next_job(study).configuration)))
    again = open_study(path, trials=8)
    assert [json.dumps(dict(next_job(again).configuration)) for _ in range(8)] == texts
    canonical = [json.dumps(SPACE.complete(json.loads(text))) for text in texts]
    assert canonical == texts


@pytest.mark.parametrize(
    ("good", "bad", "gives_up"), [(0, 4, False), (0, 5, True), (3, 3, False), (3, 4, True)]
)
def test_2_21a_the_failure_policy_ends_the_search(
    path: Path, good: int, bad: int, gives_up: bool
) -> None:
    """If more than half of at least 5 ended trials failed, no more are asked for."""
    study = open_study(path, trials=20)
    for _ in range(good):
        job = next_job(study)
        study.finish(job, result_of(job.configuration))
    for _ in range(bad):
        study.fail(next_job(study), "broken")
    assert study.gave_up is gives_up
    assert study.finished is gives_up
    assert (study.ask() is None) is gives_up


def test_2_21a_open_trials_are_waited_for_before_giving_up(path: Path) -> None:
    study = open_study(path, trials=20)
    jobs = [next_job(study) for _ in range(6)]
    for job in jobs[:5]:
        study.fail(job, "broken")
    assert study.gave_up
    assert not study.finished
    study.finish(jobs[5], result_of(jobs[5].configuration))
    assert study.finished
    assert open_study(path, trials=20).ending.probing
    lenient = open_study(path, trials=20, failures=FailurePolicy(max_share=0.9))
    assert not lenient.finished  # the user may think otherwise, and goes on
    assert next_job(lenient).number == 6


def test_trials_that_lost_their_workers_end_one_call_and_not_the_run(path: Path) -> None:
    """The machine was the cause; the next call asks for other trials, and starts a new count."""
    for call in (1, 2):
        study = open_study(path, trials=20)
        assert not study.gave_up
        for _ in range(5):
            job = next_job(study)
            for _ in range(MAX_LOSSES):
                study.give_back(job, "killed")
                assert next_job(study).number == job.number
            study.give_back(job, "killed")
        assert study.gave_up
        assert study.ending.gave_up_for_losses
        assert study.finished
        assert sum(t.lost for t in study.trials()) == 5 * call
    study = open_study(path, trials=20)
    for _ in range(5):
        study.fail(next_job(study), "broken")
    assert study.gave_up
    assert not study.ending.gave_up_for_losses
    assert open_study(path, trials=20).ending.probing


# ---- identity


@pytest.mark.parametrize(
    ("field", "now"),
    [("data", "4567"), ("protocol.holdout", "0.0"), ("space.baseline.dropout", "0 to 0.5")],
)
def test_2_10_other_conditions_are_refused_by_field(path: Path, field: str, now: str) -> None:
    """2.10: another space, dataset or protocol on an existing study; nothing is written."""
    drive(open_study(path), 2)
    content = path.read_bytes()
    with pytest.raises(StudyMismatch) as caught:
        open_study(path, identity={**IDENTITY, field: now})
    (problem,) = caught.value.problems
    assert problem.startswith(
        f"{field}: this run was made with {IDENTITY[field]}, now it is {now}"
    )
    assert path.read_bytes() == content


def test_2_10_another_experiment_in_the_same_folder_is_refused(path: Path) -> None:
    """2.10: a second study under another name would silently start from the beginning."""
    drive(open_study(path), 2)
    content = path.read_bytes()
    with pytest.raises(StudyMismatch, match="name: this run was made with tests, now it is other"):
        open_study(path, name="other")
    assert path.read_bytes() == content


def test_2_10_fields_that_came_or_went_are_named(path: Path) -> None:
    drive(open_study(path), 1)
    changed = {k: v for k, v in IDENTITY.items() if k != "data"} | {"dtype": "float32"}
    with pytest.raises(StudyMismatch) as caught:
        open_study(path, identity=changed)
    assert [p.split(";")[0] for p in caught.value.problems] == [
        "data: this run was made with 0123, now it is nothing",
        "dtype: this run was made with nothing, now it is float32",
    ]


def test_2_10_of_many_fields_the_first_20_are_shown_and_how_many_more(path: Path) -> None:
    drive(open_study(path, identity=IDENTITY | {f"space.x{i}": "1" for i in range(50)}), 1)
    with pytest.raises(StudyMismatch) as caught:
        open_study(path, identity=IDENTITY | {f"space.x{i}": "2" for i in range(50)})
    *shown, last = caught.value.problems
    assert (len(shown), last) == (20, "and 30 more")


def test_2_10_a_study_that_minimises_is_refused(path: Path) -> None:
    optuna.create_study(storage=open_journal(path), study_name="tests", direction="minimize")
    with pytest.raises(StudyMismatch, match="direction"):
        open_study(path)


def test_stored_trials_are_read_without_the_definition(path: Path) -> None:
    drive(study := open_study(path))
    assert stored_trials(path) == study.trials()
    assert isinstance(study, Study)
