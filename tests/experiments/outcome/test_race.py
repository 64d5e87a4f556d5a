"""Raced retraining: who gets more replicates, and that a stopped race goes on as it would have."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from shiftsearch.experiments.outcome.repeats import Repeats
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.experiments.outcome.trainings import Trainings
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.judging.racing import Retrain
from shiftsearch.search.study.study import MAX_LOSSES
from tests.experiments.protocol_results import complete
from tests.made_results import made_result

pytestmark = pytest.mark.unit

RACED = Retrain(top_k=3, replicates=3, budget=20)
LEVELS = {0: 0.70, 1: 0.90, 2: 0.895, 3: 0.80}
TRIALS = [
    complete(0, 0.5, role="reference"),
    *(complete(n, 1 - n / 10, **{"baseline.dropout": n / 10}) for n in (1, 2, 3)),
]


def value(job: Job) -> float:
    """The same for every life: a level with noise of 2 points."""
    noise = random.Random(f"{job.number}/{job.replicate}").gauss(0, 0.02)
    return min(1.0, LEVELS[job.number] + noise)


def race(
    folder: Path,
    settings: Retrain = RACED,
    concurrency: int = 2,
    also: Literal["TRAIN+TEST"] | None = None,
    trials: Sequence[object] = TRIALS,
) -> Retraining:
    path = folder / "retrain.json"
    return Retraining(
        trials,  # type: ignore[arg-type]
        settings,
        Protocol(),
        also,
        path,
        lambda _: True,
        concurrency=lambda: concurrency,
    )


def drive(source: Retraining, concurrency: int = 1, ends: int = 1000, seed: int = 0) -> list[str]:
    """Up to `ends` jobs, `concurrency` at once, which end in a random order; names as ended."""
    draw, running, ended = random.Random(seed), list[Job](), list[str]()
    while len(ended) < ends:
        while len(running) < concurrency and (job := source.ask()) is not None:
            running.append(job)
        if not running:
            break
        job = running.pop(draw.randrange(len(running)))
        source.finish(job, made_result(value(job)))
        ended.append(job.name)
    return ended


def counts(source: Retraining) -> dict[int, int]:
    return {c.number: len(c.results) for c in source.candidates() if c.competes}


def test_replicates_go_to_those_that_may_win(tmp_path: Path) -> None:
    source = race(tmp_path)
    assert (source.done, source.total) == (0, 20)
    drive(source)
    found = counts(source)
    assert sum(found.values()) == 20
    assert found[0] == 3  # for the comparison, and no more
    assert found[3] <= 3
    assert found[1] >= 6
    assert found[2] >= 6
    assert source.finished
    assert (source.done, source.total) == (20, 20)


def test_without_a_budget_as_many_are_trained_as_without_a_race(tmp_path: Path) -> None:
    source = race(tmp_path, Retrain(top_k=3, replicates=3))
    drive(source)
    found = counts(source)
    assert sum(found.values()) == 12
    assert (found[0], found[3]) == (3, 2)


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_a_killed_race_goes_on_as_one_that_was_not(tmp_path: Path, concurrency: int) -> None:
    """At every point, whatever was running and in whatever order it ended."""
    whole = race(tmp_path / "whole", concurrency=concurrency)
    drive(whole, concurrency)
    for life in (1, 8, 12):
        folder = tmp_path / str(life)
        for seed in range(3):  # three lives, each killed after `life` trainings, then the last
            drive(race(folder, concurrency=concurrency), concurrency, life, seed)
        continued = race(folder, concurrency=concurrency)
        drive(continued, concurrency, seed=9)
        assert continued.fingerprint() == whole.fingerprint()
    again = race(tmp_path / "whole", concurrency=99)  # it is finished before any worker is known
    assert again.finished
    assert again.fingerprint() == whole.fingerprint()


def test_one_and_two_at_once_decide_alike(tmp_path: Path) -> None:
    found = []
    for concurrency in (1, 2):
        source = race(tmp_path / str(concurrency), concurrency=concurrency)
        drive(source, concurrency)
        found.append(source.fingerprint())
    assert found[0] == found[1]


def test_a_round_begun_at_another_concurrency_is_ended_first(tmp_path: Path) -> None:
    drive(race(tmp_path, concurrency=6), 1, ends=9 + 2)  # two of the first round's six
    source = race(tmp_path, concurrency=2)
    assert (source.done, len(source.candidates()[0].results)) == (11, 3)
    rest = [source.ask() for _ in range(5)]
    assert [job is None for job in rest] == [False] * 4 + [True]


def test_no_round_is_decided_while_a_training_is_open(tmp_path: Path) -> None:
    source = race(tmp_path, concurrency=3)
    first = [source.ask() for _ in range(9)]
    assert None not in first
    for job in first[:8]:
        assert job is not None
        source.finish(job, made_result(value(job)))
    assert source.ask() is None
    assert not source.finished
    assert first[8] is not None
    source.finish(first[8], made_result(value(first[8])))
    assert not source.finished
    assert sum(source.ask() is not None for _ in range(9)) == 3


def test_a_configuration_that_failed_gets_no_more(tmp_path: Path) -> None:
    source = race(tmp_path)
    failed = 0
    while (job := source.ask()) is not None:
        if job.number == 1:
            failed += 1
            source.fail(job, "diverged")
        else:
            source.finish(job, made_result(value(job)))
    assert failed == 2
    found = counts(source)
    assert found[1] == 0
    assert sum(found.values()) == 18  # the others share the rest
    assert source.finished
    assert race(tmp_path).fingerprint() == source.fingerprint()
    winner = source.winner()
    assert winner is not None
    assert winner.number == 2


def test_one_that_is_left_alone_gets_its_replicates_and_no_more(tmp_path: Path) -> None:
    source = race(tmp_path)
    while (job := source.ask()) is not None:
        if job.number == 2:
            source.finish(job, made_result(value(job)))
        else:
            source.fail(job, "diverged")
    assert counts(source) == {0: 0, 1: 0, 2: 3, 3: 0}
    assert source.finished
    assert source.done == source.total == 10


def test_nothing_is_decided_after_a_lost_training_and_the_next_call_goes_on(
    tmp_path: Path,
) -> None:
    whole = race(tmp_path / "whole")
    drive(whole)
    source = race(tmp_path / "lost")
    drive(source, ends=9)
    lost, other = source.ask(), source.ask()
    assert lost is not None
    assert other is not None
    source.finish(other, made_result(value(other)))
    for _ in range(MAX_LOSSES):
        source.give_back(lost, "killed")
        assert source.ask() == lost
    source.give_back(lost, "killed")
    assert source.lost
    assert source.finished
    assert source.ask() is None
    again = race(tmp_path / "lost")
    assert drive(again, ends=1) == [lost.name]
    drive(again)
    assert again.fingerprint() == whole.fingerprint()


def stored(folder: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((folder / "retrain.json").read_text())
    return found


def without_rounds(folder: Path) -> None:
    """The file as versions without a race wrote it."""
    old = {k: {"result": training["result"]} for k, training in stored(folder).items()}
    (folder / "retrain.json").write_text(json.dumps(old))


def test_what_an_older_version_retrained_counts(tmp_path: Path) -> None:
    """It wrote no rounds."""
    drive(race(tmp_path, Retrain(top_k=3, replicates=5)))
    without_rounds(tmp_path)
    before = stored(tmp_path)
    source = race(tmp_path, Retrain(top_k=3, replicates=5))
    assert source.finished
    assert stored(tmp_path) == before
    assert sum(counts(source).values()) == len(before)


def test_an_older_version_s_gaps_are_trained_first(tmp_path: Path) -> None:
    """It was killed with a replicate open: 1 and 3 of trial 2 are stored, 2 is not."""
    drive(race(tmp_path), ends=20)
    without_rounds(tmp_path)
    whole = race(tmp_path)
    assert whole.finished
    missing = whole._trainings.key(whole._job(2, 1))  # of trial 2
    old = stored(tmp_path)
    del old[missing]
    (tmp_path / "retrain.json").write_text(json.dumps(old))
    source = race(tmp_path)
    assert drive(source) == ["retrain-0002-replicate-1"]
    assert source.fingerprint() == whole.fingerprint()


def test_more_trials_make_another_race_in_which_the_old_replicates_count(tmp_path: Path) -> None:
    drive(race(tmp_path))
    old = counts(race(tmp_path))
    new = complete(4, 0.99, **{"baseline.dropout": 0.45})
    source = race(tmp_path, Retrain(top_k=4, replicates=3, budget=24), trials=[*TRIALS, new])
    done = []
    while (job := source.ask()) is not None:
        done.append(job.name)
        source.finish(job, made_result(0.7 if job.number == 4 else value(job)))
    assert done[:2] == [f"retrain-0004-replicate-{r}" for r in (1, 2)]
    assert len(done) == 4
    assert all(counts(source)[number] >= count for number, count in old.items())


def test_the_other_reading_is_outside_the_budget(tmp_path: Path) -> None:
    source = race(tmp_path, also="TRAIN+TEST")
    assert source.total == 23
    drive(source)
    assert len(source.candidates()[-1].results) == 3
    assert sum(counts(source).values()) == 20


def test_a_reference_that_breaks_a_constraint_gets_its_replicates_alone(tmp_path: Path) -> None:
    trials = [complete(0, 0.99, role="reference"), *TRIALS[1:]]
    levels: Mapping[int, float] = {**LEVELS, 0: 0.99}
    source = race(tmp_path, trials=trials)
    source._unable.add(0)
    while (job := source.ask()) is not None:
        source.finish(job, made_result(levels[job.number] + 0.001 * job.replicate))
    assert counts(source)[0] == 3
    winner = source.winner()
    assert winner is not None
    assert winner.number != 0


def test_what_a_person_asked_for_is_used_but_changes_no_decision(tmp_path: Path) -> None:
    """`shiftsearch retrain` trained trial 3 ten times."""
    whole = race(tmp_path / "whole")
    drive(whole)
    path = tmp_path / "asked" / "retrain.json"
    trainings = Trainings(path, Protocol(), lambda _: True)
    jobs = [Job("retrain", 3, r, TRIALS[3].configuration) for r in range(1, 11)]
    asked = Repeats(trainings, jobs, asked=True)
    while (job := asked.ask()) is not None:
        asked.finish(job, made_result(value(job)))
    source = race(tmp_path / "asked")
    assert not any(name.startswith("retrain-0003") for name in drive(source))
    assert source.candidates() == whole.candidates()
    assert race(tmp_path / "asked").fingerprint() == source.fingerprint()
