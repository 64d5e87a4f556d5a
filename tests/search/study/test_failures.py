"""Failures: which are tried again, and what a call does after one that gave up."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.stage import drive as train
from shiftsearch.model.stage import stage_steps
from shiftsearch.model.store import open_store
from shiftsearch.search.study.failures import to_retry
from shiftsearch.search.study.records import stored_trials
from shiftsearch.search.study.study import MAX_LOSSES, Study
from tests.made_results import made_result
from tests.model.test_engine import Fake, course
from tests.search.fake_study import drive, next_job, open_study, result_of

pytestmark = pytest.mark.unit

FULL = "OSError: [Errno 28] No space left on device"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def divergence(folder: Path) -> str:
    """The reason that a stage gives for a loss that is not finite."""
    with pytest.raises(TrialDiverged) as raised:
        train(stage_steps(course(), open_store(str(folder))), lambda: Fake([float("nan")] * 6))
    return str(raised.value)


def gave_up(path: Path, reason: str, number: int = 5) -> Study:
    study = open_study(path, trials=20)
    for _ in range(number):
        study.fail(next_job(study), reason)
    assert study.gave_up
    return study


def succeed(study: Study) -> None:
    job = next_job(study)
    study.finish(job, result_of(job.configuration))


# ---- the probe


def test_after_giving_up_one_trial_is_tried_alone_and_then_all(path: Path) -> None:
    gave_up(path, FULL)
    study = open_study(path, trials=20)
    assert study.ending.probing
    assert not study.gave_up
    job = next_job(study)
    assert study.ask() is None
    assert not study.finished
    study.finish(job, result_of(job.configuration))
    assert not study.ending.probing
    for _ in range(3):
        next_job(study)
    assert not study.gave_up


def test_if_the_probe_fails_the_search_gives_up_again(path: Path) -> None:
    gave_up(path, FULL)
    study = open_study(path, trials=20)
    study.fail(next_job(study), FULL)
    assert study.gave_up
    assert study.finished
    assert study.ask() is None
    assert not study.ending.gave_up_for_losses


def test_later_failures_of_the_same_call_are_counted_anew(path: Path) -> None:
    gave_up(path, FULL)
    study = open_study(path, trials=20)
    succeed(study)
    for n in range(4):
        assert not study.gave_up, n
        study.fail(next_job(study), FULL)
    assert study.gave_up


def test_an_orphan_is_the_probe_alone(path: Path) -> None:
    study = open_study(path, trials=20)
    jobs = [next_job(study) for _ in range(7)]
    for job in jobs[:5]:
        study.fail(job, FULL)
    study = open_study(path, trials=20)
    assert next_job(study).number == 5
    assert study.ask() is None


def test_where_configurations_diverged_nothing_is_tried(path: Path) -> None:
    gave_up(path, divergence(path.parent / "store"))
    study = open_study(path, trials=20)
    assert study.gave_up
    assert study.ask() is None


# ---- trying again


def failed_in_every_way(path: Path) -> Study:
    """Trials 0 to 4: complete, diverged, not finite, broken, lost."""
    study = open_study(path, trials=8)
    succeed(study)
    study.fail(next_job(study), divergence(path.parent / "store"))
    study.finish(next_job(study), made_result(float("nan")))
    study.fail(next_job(study), FULL)
    job = next_job(study)
    for _ in range(MAX_LOSSES):
        study.give_back(job, "killed")
        next_job(study)
    study.give_back(job, "killed")
    return open_study(path, trials=8)


@pytest.mark.parametrize(
    ("which", "numbers"), [("", [3, 4]), ("all", [1, 2, 3, 4]), ("2,1", [1, 2]), ("4", [4])]
)
def test_what_diverged_is_tried_again_only_if_it_is_named(
    path: Path, which: str, numbers: list[int]
) -> None:
    study = failed_in_every_way(path)
    assert to_retry(study.trials(), which) == numbers
    new = study.retry(numbers)
    assert [study.trial(n).retry_of for n in new] == numbers
    for number, again in zip(numbers, new, strict=True):
        job = next_job(study)
        assert job.number == again
        assert job.configuration == study.trial(number).configuration
    assert stored_trials(path) == study.trials()
    left = [n for n in (1, 2, 3, 4) if n not in numbers]
    assert to_retry(study.trials(), "all") == left


@pytest.mark.parametrize(
    ("which", "word"),
    [("few", "all"), ("0", "complete"), ("9", "no trial 9"), ("-1", "no trial -1"), ("1,", "all")],
)
def test_what_cannot_be_tried_again_is_refused(path: Path, which: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        to_retry(failed_in_every_way(path).trials(), which)


def test_a_trial_is_tried_again_once_and_then_its_successor(path: Path) -> None:
    study = failed_in_every_way(path)
    study.retry([3])
    study.fail(next_job(study), FULL)
    with pytest.raises(ValueError, match="as trial 5"):
        to_retry(study.trials(), "3")
    assert to_retry(study.trials(), "") == [4, 5]


def test_failures_that_are_tried_again_do_not_count(path: Path) -> None:
    gave_up(path, divergence(path.parent / "store"))
    study = open_study(path, trials=20)
    study.retry(to_retry(study.trials(), "all"))
    assert not study.gave_up
    assert not study.ending.probing
    for _ in range(4):
        study.fail(next_job(study), FULL)
    assert not study.gave_up
    study.fail(next_job(study), FULL)
    assert study.gave_up


def test_a_finished_search_wants_more_trials_to_try_again(path: Path) -> None:
    study = open_study(path, trials=4)
    succeed(study)
    study.fail(next_job(study), FULL)
    drive(study)
    assert study.finished
    assert len(study.trials()) == 5
    again = open_study(path, trials=4)
    again.retry([1])
    assert (again.ending.wanted, again.missing) == (5, 1)
    drive(again)
    assert again.finished
    assert again.trial(5).state == "complete"
    assert open_study(path, trials=4).finished


def test_the_reference_tried_again_is_the_reference(path: Path) -> None:
    study = open_study(path, trials=4)
    study.fail(next_job(study), FULL)
    study.retry([0])
    job = next_job(study)
    assert (job.number, job.role) == (1, "reference")
    assert job.configuration == study.trial(0).configuration
    again = open_study(path, trials=4)
    assert [t.role for t in again.trials()] == ["reference", "reference"]
