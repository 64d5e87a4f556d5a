"""Retraining: new replicates decide, the search's own value does not; nothing is done twice."""

from __future__ import annotations

import json
import math
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from shiftsearch.experiments.outcome.retrain import Candidate, Retraining
from shiftsearch.experiments.outcome.training import Training
from shiftsearch.experiments.run_folder import NotARun
from shiftsearch.model.hyperparameters import Protocol, Value
from shiftsearch.model.objective import BALANCED_ACCURACY
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.judging.racing import Retrain
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.study.budget import Budget, FailurePolicy
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import MAX_LOSSES, Study
from tests.made_results import made_result, with_scores

pytestmark = pytest.mark.unit

SPACE = Space.parse({"baseline": {"dropout": {"low": 0.1, "high": 0.9, "step": 0.1}}})
DROPOUTS = (0.1, 0.2, 0.3)  # of trials 1, 2, 3; the reference has 0.5
SEARCHED = (0.70, 0.95, 0.90, 0.85)  # values of trials 0 to 3


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """The reference and three points, searched."""
    return searched(tmp_path / "study.journal", SEARCHED)


def searched(path: Path, values: Sequence[float]) -> Study:
    points = tuple(SPACE.point({"baseline.dropout": d}, "point") for d in DROPOUTS)
    settings = Settings(
        "tests",
        points=points,
        budget=Budget(4),
        failures=FailurePolicy(min_ended=100),
        policy=Policy(branches=1),
    )
    study = Study(path, SPACE, settings, {})
    for value in values:
        job = study.ask()
        assert job is not None
        study.finish(job, made_result(value))  # not finite: it fails
    return study


def retraining(
    study: Study,
    path: Path,
    top_k: int = 2,
    replicates: int = 2,
    also: Literal["TRAIN+TEST"] | None = None,
    main: Literal["TEST", "TRAIN+TEST"] = "TEST",
    kept: Callable[[ProtocolResult], bool] = lambda result: True,
) -> Retraining:
    settings = Retrain(top_k=top_k, replicates=replicates)
    return Retraining(
        study.trials(), settings, Protocol(fine_tune_on=main), also, path / "retrain.json", kept
    )


def test_the_winner_has_the_best_mean_objective(study: Study, tmp_path: Path) -> None:
    trials = [replace(t, objective=BALANCED_ACCURACY) for t in study.trials()]
    source = Retraining(
        trials,
        Retrain(top_k=2, replicates=2),
        Protocol(),
        None,
        tmp_path / "r.json",
        lambda _: True,
    )
    while (job := source.ask()) is not None:
        balanced = 0.75 if job.number == 2 else 0.5
        source.finish(job, with_scores(made_result(1 - balanced), balanced))
    winner = source.winner()
    assert winner is not None
    assert (winner.number, winner.mean, winner.values) == (2, 0.75, [0.75, 0.75])
    assert {c.mean for c in source.candidates()} == {0.5, 0.75}


def do_all(source: Retraining, accuracies: Mapping[int, Sequence[float]]) -> list[Job]:
    """Finish every job; `accuracies` by trial number, one per replicate from 1 on."""
    done = []
    while (job := source.ask()) is not None:
        source.finish(job, made_result(accuracies[job.number][job.replicate - 1]))
        done.append(job)
    return done


def asked(source: Retraining) -> list[tuple[int, int]]:
    jobs = []
    while (job := source.ask()) is not None:
        jobs.append((job.number, job.replicate))
    return jobs


def test_where_all_values_are_equal_all_get_the_same_replicates(
    study: Study, tmp_path: Path
) -> None:
    source = retraining(study, tmp_path, top_k=2, replicates=3)
    assert source.total == 9
    jobs = do_all(source, dict.fromkeys(range(4), [0.9] * 3))
    assert [(j.number, j.replicate) for j in jobs] == [
        *((0, r) for r in (1, 2, 3)),
        *((1, r) for r in (1, 2)),
        *((2, r) for r in (1, 2)),
        (1, 3),
        (2, 3),
    ]
    assert {j.phase for j in jobs} == {"retrain"}
    assert dict(jobs[0].configuration) == dict(REFERENCE)
    assert [j.configuration["baseline.dropout"] for j in jobs[3::2]] == [0.1, 0.2, 0.1]
    assert source.finished
    assert (source.done, source.total) == (9, 9)


def test_the_search_s_own_value_is_left_out(study: Study, tmp_path: Path) -> None:
    """Trial 1 was best of the search by luck; its mean with that value would still be best."""
    source = retraining(study, tmp_path)
    do_all(source, {0: [0.7, 0.7], 1: [0.80, 0.82], 2: [0.82, 0.81]})
    winner = source.winner()
    assert winner is not None
    assert winner.number == 2
    assert winner.mean == pytest.approx(0.815)
    assert winner.search_value == 0.90
    assert (0.95 + 0.80 + 0.82) / 3 > (0.90 + 0.82 + 0.81) / 3


def test_ties_go_to_the_earlier_trial(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path)
    do_all(source, {0: [0.7, 0.7], 1: [0.8, 0.8], 2: [0.8, 0.8]})
    winner = source.winner()
    assert winner is not None
    assert winner.number == 1


def test_a_reference_outside_the_top_can_win(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path)
    do_all(source, {0: [0.99, 0.99], 1: [0.8, 0.8], 2: [0.7, 0.7]})
    winner = source.winner()
    assert winner is not None
    assert winner.number == 0


def test_a_result_whose_weights_are_gone_is_trained_again(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path)
    do_all(source, {0: [0.6, 0.6], 1: [0.8, 0.81], 2: [0.7, 0.7]})
    again = retraining(study, tmp_path, kept=lambda result: result.test2_accuracy != 0.81)
    job = again.ask()
    assert job is not None
    assert (job.number, job.replicate) == (1, 2)
    assert again.ask() is None


def test_a_reference_in_the_top_is_trained_once_and_can_win(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path, top_k=4)
    jobs = do_all(source, {0: [0.99, 0.98], 1: [0.8] * 2, 2: [0.7] * 2, 3: [0.6] * 2})
    assert [j.number for j in jobs].count(0) == 2
    assert len(jobs) == 8
    winner = source.winner()
    assert winner is not None
    assert winner.number == 0
    assert winner.mean == pytest.approx(0.985)


def test_a_failed_replicate_disqualifies(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path)
    while (job := source.ask()) is not None:
        if (job.number, job.replicate) == (1, 2):
            source.fail(job, "fine-tune epoch 2: training loss nan")
        else:
            source.finish(job, made_result({0: 0.7, 1: 0.99, 2: 0.8}[job.number]))
    broken = source.candidates()[1]
    assert broken.failures == {2: "fine-tune epoch 2: training loss nan"}
    assert broken.mean is None
    winner = source.winner()
    assert winner is not None
    assert winner.number == 2
    again = retraining(study, tmp_path)  # and is not tried again
    assert again.finished
    assert again.winner() == winner


def test_no_winner_when_all_failed(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path)
    while (job := source.ask()) is not None:
        source.fail(job, "broken")
    assert source.finished
    assert source.winner() is None


def test_a_failed_trial_is_never_retrained(tmp_path: Path) -> None:
    """2.19a: one NaN neither wins nor hides the others."""
    study = searched(tmp_path / "study.journal", (0.7, math.nan, 0.8, math.inf, 0.6, 0.5))
    source = retraining(study, tmp_path, top_k=3, replicates=1)
    assert asked(source) == [(0, 1), (2, 1), (4, 1)]


def test_an_unfinished_candidate_has_no_mean(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path)
    assert all(c.mean is None for c in source.candidates())
    assert source.winner() is None


def test_continued_from_the_file_after_every_single_training(study: Study, tmp_path: Path) -> None:
    accuracies = {0: [0.7, 0.71], 1: [0.8, 0.82], 2: [0.9, 0.91]}
    trained = []
    for _ in range(20):  # each life trains one, and dies with another open
        source = retraining(study, tmp_path)
        job = source.ask()
        if job is None:
            break
        source.ask()
        source.finish(job, made_result(accuracies[job.number][job.replicate - 1]))
        trained.append((job.number, job.replicate))
    assert trained == [(n, r) for n in (0, 1, 2) for r in (1, 2)]
    undisturbed = retraining(study, tmp_path / "undisturbed")
    do_all(undisturbed, accuracies)
    continued = retraining(study, tmp_path)
    assert continued.candidates() == undisturbed.candidates()
    assert continued.fingerprint() == undisturbed.fingerprint()


def test_another_top_or_more_replicates_reuse_what_is_done(study: Study, tmp_path: Path) -> None:
    accuracies = {n: [0.5 + 0.1 * n, 0.51 + 0.1 * n, 0.52] for n in range(4)}
    do_all(retraining(study, tmp_path), accuracies)
    wider = retraining(study, tmp_path, top_k=3)
    assert (wider.done, wider.total) == (6, 8)
    assert [(j.number, j.replicate) for j in do_all(wider, accuracies)] == [(3, 1), (3, 2)]
    longer = retraining(study, tmp_path, top_k=1, replicates=3)
    assert asked(longer) == [(0, 3), (1, 3)]
    narrower = retraining(study, tmp_path, top_k=1)
    assert narrower.finished
    assert [c.number for c in narrower.candidates()] == [0, 1]
    assert len({s.fingerprint() for s in (wider, longer, narrower)}) == 3


def test_lost_workers_are_replaced_three_times(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path, top_k=1, replicates=1)
    first, second = source.ask(), source.ask()
    assert first is not None
    assert second is not None
    source.finish(second, made_result(0.8))
    for _ in range(MAX_LOSSES):
        source.give_back(first, "killed")
        assert not source.finished
        assert source.ask() == first
    source.give_back(first, "killed for good")
    assert source.finished
    failures = source.candidates()[0].failures
    assert failures == {1: "lost its worker 4 times; last: killed for good"}


def test_a_replicate_that_lost_its_workers_is_trained_by_the_next_call(
    study: Study, tmp_path: Path
) -> None:
    """A lost worker is not the configuration's fault; other failures are final."""
    source = retraining(study, tmp_path, top_k=1, replicates=1)
    lost, failed = source.ask(), source.ask()
    assert lost is not None
    assert failed is not None
    source.fail(failed, "diverged")
    assert not source.lost
    for _ in range(MAX_LOSSES + 1):
        source.give_back(lost, "killed")
    assert source.lost
    assert source.winner() is None
    again = retraining(study, tmp_path, top_k=1, replicates=1)
    assert again.ask() == lost
    assert again.ask() is None
    again.finish(lost, made_result(0.8))
    assert not again.lost
    winner = again.winner()
    assert winner is not None
    assert winner.number == lost.number


def test_not_finished_while_something_is_open(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path, top_k=1, replicates=1)
    jobs = [source.ask(), source.ask()]
    assert source.ask() is None
    assert not source.finished
    assert source.done == 0
    for job in jobs:
        assert job is not None
        source.finish(job, made_result(0.8))
    assert source.finished


def test_the_other_reading_is_reported_for_the_reference_alone(
    study: Study, tmp_path: Path
) -> None:
    source = retraining(study, tmp_path, top_k=4, replicates=1, also="TRAIN+TEST")
    jobs = []
    while (job := source.ask()) is not None:
        combined = job.configuration.get("fine_tune.train_on") == "TRAIN+TEST"
        source.finish(job, made_result(0.99 if combined else 0.6 + 0.1 * (job.number == 2)))
        jobs.append(job)
    assert [j.number for j in jobs if "fine_tune.train_on" in j.configuration] == [0]
    assert len({j.name for j in jobs}) == len(jobs) == 5
    winner = source.winner()
    assert winner is not None
    assert (winner.number, winner.fine_tune_on) == (2, "TEST")
    other: Candidate = source.candidates()[-1]
    assert (other.number, other.fine_tune_on, other.mean) == (0, "TRAIN+TEST", 0.99)


def test_the_other_reading_is_not_trained_twice_when_it_is_the_run_s_own(
    study: Study, tmp_path: Path
) -> None:
    source = retraining(
        study, tmp_path, top_k=1, replicates=1, main="TRAIN+TEST", also="TRAIN+TEST"
    )
    assert asked(source) == [(0, 1), (1, 1)]
    assert source.total == 2


def test_the_file_is_whole_and_valid_json_at_all_times(study: Study, tmp_path: Path) -> None:
    source = retraining(study, tmp_path)
    for count in range(1, 7):
        job = source.ask()
        assert job is not None
        source.finish(job, made_result(0.8))
        assert len(json.loads((tmp_path / "retrain.json").read_text())) == count
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".writing")] == []


def test_equal_configurations_share_their_trainings_whatever_their_number(
    tmp_path: Path,
) -> None:
    """The file is keyed by content, so a renumbered configuration is found again."""
    flat: Mapping[str, Value] = SPACE.point({"baseline.dropout": 0.1}, "point")
    study = searched(tmp_path / "a.journal", SEARCHED)
    do_all(retraining(study, tmp_path, top_k=1), {0: [0.7, 0.7], 1: [0.8, 0.8]})
    points = (SPACE.point({"baseline.dropout": 0.6}, "point"), flat)
    settings = Settings("tests", points=points, budget=Budget(3))
    other = Study(tmp_path / "b.journal", SPACE, settings, {})
    for value in (0.7, 0.6, 0.9):
        job = other.ask()
        assert job is not None
        other.finish(job, made_result(value))
    source = retraining(other, tmp_path, top_k=1)
    assert source.finished
    winner = source.winner()
    assert winner is not None
    assert (winner.number, winner.mean) == (2, 0.8)


def test_a_training_has_either_a_result_or_a_reason() -> None:
    for result, reason in ((None, ""), (made_result(0.5), "diverged")):
        with pytest.raises(ValueError, match="either a result or a reason"):
            Training(result, reason)


@pytest.mark.parametrize(
    "written",
    [
        {"result": made_result(0.5).to_json()},
        {"reason": "diverged"},
        {"reason": "lost its worker 4 times", "lost": True},
    ],
)
def test_a_training_is_written_as_it_was_read(written: dict[str, Any]) -> None:
    assert json.dumps(Training.from_json(written).to_json()) == json.dumps(written)


def test_a_training_that_the_first_version_lost_is_trained_again(
    study: Study, tmp_path: Path
) -> None:
    """It wrote the reason alone."""
    source = retraining(study, tmp_path, top_k=1, replicates=1)
    lost, failed = source.ask(), source.ask()
    assert lost is not None
    assert failed is not None
    source.fail(lost, "lost its worker 4 times; last: killed")
    source.fail(failed, "diverged")
    again = retraining(study, tmp_path, top_k=1, replicates=1)
    assert again.ask() == lost
    assert again.ask() is None


@pytest.mark.parametrize(
    "written",
    [
        [],
        {"a": None},
        {"a": {}},
        {"a": {"reason": 3}},
        {"a": {"result": {}}},
        {"a": {"result": "0.5"}},
    ],
)
def test_a_file_of_another_form_is_refused_by_name(
    study: Study, tmp_path: Path, written: object
) -> None:
    (tmp_path / "retrain.json").write_text(json.dumps(written))
    with pytest.raises(NotARun, match=re.escape(f"{tmp_path / 'retrain.json'}: is damaged")):
        retraining(study, tmp_path)


def test_equal_trainings_are_done_once(tmp_path: Path) -> None:
    """A trial that is the reference in its other reading has the same key."""
    space = Space.parse({"fine_tune": {"train_on": {"choices": ["TEST", "TRAIN+TEST"]}}})
    other = space.point({"fine_tune.train_on": "TRAIN+TEST"}, "point")
    settings = Settings("tests", points=(other,), budget=Budget(2), policy=Policy(branches=1))
    study = Study(tmp_path / "study.journal", space, settings, {})
    for value in (0.7, 0.8):
        job = study.ask()
        assert job is not None
        study.finish(job, made_result(value))
    source = retraining(study, tmp_path, top_k=2, replicates=2, also="TRAIN+TEST")
    assert source.total == 4
    do_all(source, {0: [0.7, 0.7], 1: [0.8, 0.9]})
    assert source.finished
    winner = source.winner()
    assert winner is not None
    assert (winner.number, winner.fine_tune_on) == (1, "TRAIN+TEST")
    assert len(json.loads((tmp_path / "retrain.json").read_text())) == 4


def test_the_results_of_the_first_version_are_written_as_they_were_read() -> None:
    """To the byte; the archive is that of `test_earlier_runs`."""
    archive = Path(__file__).parents[2] / "fixtures/runs_of_the_first_version.tar.xz"
    with tarfile.open(archive) as opened:
        file = opened.extractfile("finished/retrain.json")
        assert file is not None
        text = file.read().decode()
    read = {key: Training.from_json(raw) for key, raw in json.loads(text).items()}
    assert len(read) > 0
    assert json.dumps({key: t.to_json() for key, t in read.items()}, indent=1) == text
