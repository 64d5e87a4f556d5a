"""A study that is extended, stopped and given configurations while it is searched."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.study import Study
from tests.search.fake_study import POINT, SPACE, drive, next_job, open_study, result_of, summary

pytestmark = pytest.mark.unit

OTHER = SPACE.point({"baseline.dropout": 0.4}, "other")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def begun(path: Path, done: int, trials: int = 6) -> Study:
    """A study with one open trial after `done` ended ones."""
    study = open_study(path, trials)
    drive(study, done)
    next_job(study)
    return study


def test_an_enqueued_configuration_is_the_next_trial(path: Path) -> None:
    study = begun(path, 2)
    number = study.enqueue(POINT)
    assert number == 3
    job = next_job(study)
    assert (job.number, job.role, dict(job.configuration)) == (3, "point", POINT)


def test_enqueued_configurations_wait_in_order_and_over_restarts(path: Path) -> None:
    study = begun(path, 2)
    assert [study.enqueue(c) for c in (POINT, OTHER)] == [3, 4]
    again = open_study(path, 6)
    jobs = [next_job(again) for _ in range(3)]  # the open one, then the waiting ones
    assert [(job.number, dict(job.configuration)) for job in jobs[1:]] == [(3, POINT), (4, OTHER)]


def test_an_enqueued_trial_counts_among_those_wanted(path: Path) -> None:
    study = begun(path, 2)
    study.enqueue(POINT)
    again = open_study(path, 6)  # the open trial is handed out again
    drive(again)
    assert [t.state for t in again.trials()] == ["complete"] * 6


def test_a_known_configuration_is_not_enqueued_again(path: Path) -> None:
    study = begun(path, 2)
    study.enqueue(POINT)
    before = summary(study)
    with pytest.raises(ValueError, match=r"trial 3 .*waiting"):
        study.enqueue(POINT)
    reference = study.trials()[0].configuration
    with pytest.raises(ValueError, match=r"trial 0 .*complete"):
        study.enqueue(reference)
    assert summary(study) == before


def test_nothing_is_enqueued_that_would_never_be_asked_for(path: Path) -> None:
    study = begun(path, 2, trials=3)
    with pytest.raises(ValueError, match="all 3 trials"):
        study.enqueue(POINT)
    study.ending.extend(4)
    assert study.enqueue(POINT) == 3
    with pytest.raises(ValueError, match="all 4 trials"):
        study.enqueue(OTHER)
    study.ending.stop()
    study.ending.extend(9)
    with pytest.raises(ValueError, match="stopped by request"):
        study.enqueue(OTHER)


def test_an_extended_study_goes_on_and_stays_extended(path: Path) -> None:
    study = open_study(path, 3)
    drive(study)
    assert study.finished
    study.ending.extend(5)
    assert not study.finished
    drive(study, 1)
    again = open_study(path, 3)  # the same command as before
    drive(again)
    assert len(again.trials()) == again.ending.wanted == 5
    assert summary(again) == summary(_undisturbed(path, 5))


def _undisturbed(path: Path, trials: int) -> Study:
    study = open_study(path.with_name("undisturbed.journal"), trials)
    drive(study)
    return study


@pytest.mark.parametrize("trials", [-1, 0, 2, 3])
def test_a_study_is_not_extended_to_what_is_wanted_already(path: Path, trials: int) -> None:
    study = open_study(path, 3)
    with pytest.raises(ValueError, match=f"trials is {trials}, but must be above 3"):
        study.ending.extend(trials)
    assert study.ending.wanted == 3


def test_a_stopped_study_drains(path: Path) -> None:
    study = open_study(path, 6)
    drive(study, 2)
    job = next_job(study)
    study.ending.stop()
    assert study.ask() is None
    assert not study.finished  # the open trial goes on
    study.finish(job, result_of(job.configuration))
    assert study.finished
    assert study.ending.reason == "stopped by request"
    assert len(study.trials()) == 3


def test_a_stop_outlives_the_driver_until_the_run_is_concluded(path: Path) -> None:
    study = open_study(path, 6)
    drive(study, 2)
    study.ending.stop()
    again = open_study(path, 6)
    assert again.ask() is None
    assert again.finished
    again.ending.resume()
    drive(open_study(path, 6))
    assert summary(open_study(path, 6)) == summary(_undisturbed(path, 6))


def test_a_trial_that_lost_its_worker_is_still_drained(path: Path) -> None:
    study = open_study(path, 6)
    job = next_job(study)
    study.ending.stop()
    study.give_back(job, "node gone")
    assert not study.finished
    assert next_job(study).number == job.number


def test_extending_does_not_lift_other_budgets(path: Path) -> None:
    study = open_study(path, budget=Budget(3, seconds=0.0))
    study.ending.extend(9)
    assert study.ending.reason == "the budget is spent"
