"""Search and retraining as one source: the noise is known early, and nothing is trained twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev, variance
from typing import Literal

import pytest

from shiftsearch.experiments.outcome.outlook import outlook
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.experiments.phases import NOISE_AFTER, Phases
from shiftsearch.experiments.sections import Retrain
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import Study
from tests.made_results import made_result

pytestmark = pytest.mark.unit

SPACE = Space.parse({"baseline": {"dropout": {"low": 0.0, "high": 0.9}}})
BEST = 5
REPEATS = {0: (0.60, 0.60, 0.60), BEST: (0.80, 0.90, 0.97)}  # by trial, of replicates 1, 2, 3


def noise(count: int = 3) -> float:
    """The noise of the first replicates, pooled over the reference and the best."""
    return sqrt(fmean(variance(values[:count]) for values in REPEATS.values()))


NOISE = noise()


def phases(
    path: Path,
    budget: Budget | None = None,
    replicates: int = 3,
    *,
    until_converged: bool = True,
    also: Literal["TRAIN+TEST"] | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Phases:
    """Phases as a driver makes them from the run folder."""
    settings = Settings(
        "tests", sampler="random", budget=budget or Budget(24), policy=Policy(branches=1)
    )
    study = Study(path / "study.journal", SPACE, settings, {}, clock=clock)

    def make(trials: Sequence[TrialRecord], wanted: Retrain) -> Retraining:
        return Retraining(trials, wanted, Protocol(), also, path / "retrain.json", lambda _: True)

    once = Retrain(top_k=1, replicates=replicates)
    return Phases(study, make, once, until_converged=until_converged)


def finish(source: Phases, job: Job) -> None:
    """Trial 5 is the best by far; what more trials would gain is less than its noise."""
    value = 0.9 + 0.02 * (job.number == BEST)
    if job.phase == "retrain":
        value = (
            0.1
            if job.configuration.get("fine_tune.train_on") == "TRAIN+TEST"
            else REPEATS[job.number][job.replicate - 1]
        )
    source.finish(job, made_result(value))


def ask(source: Phases) -> Job:
    job = source.ask()
    assert job is not None
    return job


def drive(source: Phases, ends: int = 100) -> list[str]:
    """Do at most this many jobs, one after another; returns their names."""
    done = []
    while len(done) < ends and (job := source.ask()) is not None:
        finish(source, job)
        done.append(job.name)
    return done


def names(numbers: Sequence[int]) -> list[str]:
    return [f"trial-{number:04d}" for number in numbers]


def repeats(*replicates: int) -> list[str]:
    return [f"retrain-{n:04d}-replicate-{r}" for n in (0, BEST) for r in replicates]


def test_the_best_of_the_first_trials_is_repeated_early_and_found_again(tmp_path: Path) -> None:
    source, told = phases(tmp_path), []
    source.on_phase = lambda *phase: told.append(phase)
    assert drive(source, ends=NOISE_AFTER) == names(range(NOISE_AFTER))
    assert not source.finished
    assert drive(source) == repeats(1, 2, 3) + names(range(NOISE_AFTER, 20))
    assert source.finished
    assert source.study.ending.noise == pytest.approx(NOISE)
    assert source.stopped.startswith("more trials are expected to gain at most 0.0")
    assert source.stopped.endswith(f"less than the noise between seeds, {NOISE:.4f}")
    assert told == [("retrain", 6, 6)]
    assert len(json.loads((tmp_path / "retrain.json").read_text())) == 6
    means = {c.number: c.mean for c in source.retrain().candidates()}
    assert means == pytest.approx({0: 0.60, BEST: 0.89})
    stated = outlook(source.study.trials(), source.retrain().candidates())["noise"]
    assert stated["sd"] == source.study.ending.noise


def test_without_the_wish_nothing_changes(tmp_path: Path) -> None:
    source = phases(tmp_path, until_converged=False)
    assert drive(source) == names(range(24)) + repeats(1, 2, 3)
    assert source.study.ending.noise is None
    assert source.stopped == ""


@pytest.mark.parametrize("trials", [NOISE_AFTER - 1, NOISE_AFTER])
def test_a_search_that_is_over_by_then_repeats_nothing_for_the_noise(
    tmp_path: Path, trials: int
) -> None:
    source = phases(tmp_path, Budget(trials))
    assert drive(source, trials) == names(range(trials))
    assert drive(source) == repeats(1, 2, 3)
    assert source.study.ending.noise is None
    assert source.stopped == ""


def test_the_search_goes_on_beside_the_repeats(tmp_path: Path) -> None:
    source = phases(tmp_path, replicates=1)  # of which noise needs two
    drive(source, ends=NOISE_AFTER - 1)
    last, further = ask(source), ask(source)
    assert [last.name, further.name] == names([11, 12])
    finish(source, last)
    open_ = [ask(source) for _ in range(5)]
    assert [job.name for job in open_] == repeats(1, 2) + names([13])
    for job in (*open_[:3], *open_[4:], further):
        finish(source, job)
    assert source.study.ending.noise is None
    assert not source.finished
    finish(source, open_[3])
    ask(source)
    assert source.study.ending.noise == pytest.approx(noise(2))


def test_when_all_is_asked_the_open_repeats_are_waited_for(tmp_path: Path) -> None:
    source = phases(tmp_path, Budget(13))
    drive(source, ends=NOISE_AFTER)
    open_ = [ask(source) for _ in range(7)]
    finish(source, open_[6])
    assert source.study.finished
    assert source.ask() is None
    assert not source.finished
    for job in open_[:6]:
        finish(source, job)
    assert source.ask() is None
    assert source.finished


@pytest.mark.parametrize("done", [0, 2, 6])
def test_a_restart_amid_the_repeats_goes_on_with_the_rest(tmp_path: Path, done: int) -> None:
    first = phases(tmp_path)
    drive(first, ends=NOISE_AFTER + done)
    first.ask()  # and dies with it
    source = phases(tmp_path)
    assert drive(source) == repeats(1, 2, 3)[done:] + names(range(NOISE_AFTER, 20))
    assert source.study.ending.noise == pytest.approx(NOISE)


def test_a_run_that_converged_is_finished_when_it_is_opened_again(tmp_path: Path) -> None:
    drive(phases(tmp_path))
    source = phases(tmp_path)
    assert source.finished
    assert source.stopped.startswith("more trials are expected")


BEST_ALONE = stdev(REPEATS[BEST][:2])


@pytest.mark.parametrize(
    ("failing", "known"),
    [
        ([(BEST, 1)], 0.0),
        ([(BEST, 2)], 0.0),
        ([(0, 2)], BEST_ALONE),
        ([(0, 1), (BEST, 2)], None),
    ],
)
def test_a_failed_repeat_is_not_waited_for(
    tmp_path: Path, failing: list[tuple[int, int]], known: float | None
) -> None:
    """The noise comes from the other configuration, and is unknown if both have a failure."""
    source = phases(tmp_path, Budget(13), replicates=2)
    drive(source, ends=NOISE_AFTER)
    for number, replicate in [(n, r) for n in (0, BEST) for r in (1, 2)]:
        job = ask(source)
        assert (job.number, job.replicate) == (number, replicate)
        if (number, replicate) in failing:
            source.fail(job, "loss nan")
        else:
            finish(source, job)
    assert drive(source) == names([12])
    assert source.finished
    assert source.study.ending.noise == (None if known is None else pytest.approx(known))
    failures = [(c.number, r) for c in source.retrain().candidates() for r in c.failures]
    assert failures == failing


def test_a_lost_repeat_is_handed_out_again(tmp_path: Path) -> None:
    source = phases(tmp_path)
    drive(source, ends=NOISE_AFTER)
    lost = ask(source)
    source.give_back(lost, "killed")
    assert drive(source)[:6] == [*repeats(1, 2, 3)[1:], lost.name]
    assert source.study.ending.noise == pytest.approx(NOISE)


def test_the_noise_is_that_of_the_run_s_own_protocol(tmp_path: Path) -> None:
    """The second reading of the reference comes last, and does not count for the noise."""
    source = phases(tmp_path, also="TRAIN+TEST")
    drive(source)
    assert source.study.ending.noise == pytest.approx(NOISE)


def test_time_that_passes_after_the_search_does_not_change_why_it_stopped(tmp_path: Path) -> None:
    now = [0.0]
    source = phases(tmp_path, Budget(24, seconds=10.0), replicates=1, clock=lambda: now[0])
    drive(source, ends=NOISE_AFTER + 4 + 8)
    assert source.ask() is None
    now[0] = 20.0
    assert source.finished
    assert source.stopped.startswith("more trials are expected")


def test_spent_time_stops_the_search_and_its_top_is_still_retrained(tmp_path: Path) -> None:
    now = [0.0]
    source = phases(tmp_path, Budget(24, seconds=10.0), clock=lambda: now[0])
    drive(source, ends=BEST)
    last = ask(source)
    now[0] = 20.0
    finish(source, last)
    assert drive(source) == repeats(1, 2, 3)
    assert source.finished
    assert source.stopped == "the budget is spent"
