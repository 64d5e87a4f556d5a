"""The store of a run stays small, whatever fails or is killed, and what is needed stays in it."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shiftsearch.experiments.collector import Collector
from shiftsearch.experiments.continuing import keep_as_begun
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.outcome.trained import trained_models
from shiftsearch.experiments.outcome.training import Training
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.collecting import FINAL, NOTES, Note, is_large
from shiftsearch.model.report import stored_history
from shiftsearch.model.result import STAGES, ProtocolResult
from shiftsearch.model.store import Entry, FileStore, Store, content_key, open_store
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.budget import FailurePolicy
from shiftsearch.search.study.records import stage_values
from shiftsearch.search.study.study import Study
from tests.made_results import made_stage
from tests.model.store_conformance import MemoryStore
from tests.search.fake_study import open_study

pytestmark = pytest.mark.unit

SPACE = Space.parse(
    {
        "baseline": {"dropout": {"low": 0.1, "high": 0.5, "step": 0.01}},
        "fine_tune": {
            "learning_rate": {"low": 1e-4, "high": 1e-2},
            "frozen_layers": {"low": 0, "high": 4},
        },
    }
)
POLICY = Policy(branches=3, first_baselines=2)
KEEP, FOLDS = 3, 2
LARGEST = 2 * (KEEP + 1) + POLICY.first_baselines + 1
"""Stages with weights when no job runs: best trials and reference, baselines to branch from."""


def opened(path: Path, trials: int) -> Study:
    patient = FailurePolicy(min_ended=1000)
    return open_study(path, trials, "random", 0, (), patient, POLICY, SPACE)


def work(store: Store, job: Job, fate: str) -> ProtocolResult | None:
    """Leave in the store what a worker leaves: of a failed job its baseline and a state."""
    note = Note(store, job.name, {"phase": job.phase, "number": job.number})
    rng = random.Random(f"{job.number} {job.replicate}")
    weights = {"w": torch.tensor([rng.random()])}
    stages = []
    values = sorted(stage_values(job.configuration, "baseline").items())
    baseline = content_key([values, job.replicate])
    parts = [baseline, sorted(job.configuration.items())]
    for fold in range(FOLDS):
        parts.append(fold)
        for course in (baseline, content_key(parts)):
            note.add(course)
            if fate == "failed" and course != baseline:
                store.save(course, "state", Entry(weights, {}))
                return None
            record = {"history": [{"epoch": 1}], "weights": "digest"}
            if not store.exists(course, FINAL):
                store.save(course, "epochs-0001", Entry(weights, record))
                store.save(course, FINAL, Entry(weights, record))
            store.save(course, "report-0", Entry({}, {"test": {}, "test2": {}, **record}))
    for key, value in ((baseline, 0.2), (content_key(parts), round(rng.random(), 2))):
        stages.append(made_stage(0.5, value, key=f"{key}-0004"))
    return ProtocolResult(*stages)


def end(study: Study, collector: Collector, store: Store, job: Job, fate: str) -> None:
    """Have a job done and told to the study, then to the collector."""
    result = work(store, job, fate)
    if result is None:
        study.fail(job, "broken")
    else:
        study.share(job)
        study.finish(job, result)
    collector.ended(job, "complete" if result else "failed", "", result)


def fate_of(job: Job) -> str:
    return "failed" if job.number % 5 == 4 else "complete"


def large(store: Store) -> list[tuple[str, str]]:
    return [(course, name) for course, name in store.entries() if is_large(name)]


def check_kept(store: Store, study: Study) -> None:
    """What is exported comes from the same trials as if everything had been kept."""
    complete = [t for t in study.trials() if t.result is not None]
    complete.sort(key=lambda t: (-(t.value or 0.0), t.number))
    kept = [t.number for t in trained_models(study.trials(), [], store, KEEP)]
    assert kept == [t.number for t in complete[:KEEP]]
    for trial in complete:
        assert trial.result is not None
        for stage in STAGES:
            assert stored_history(store, trial.result.stage(stage)) == [{"epoch": 1}]
            if trial.role == "reference":
                assert store.exists(trial.result.stage(stage).course, FINAL)


class Counting(MemoryStore):
    """Counts the driver's calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def names(self, course: str) -> list[str]:
        self.calls["names"] += 1
        return super().names(course)

    def delete(self, course: str, name: str) -> None:
        self.calls["delete"] += 1
        super().delete(course, name)

    def load(self, course: str, name: str) -> Entry | None:
        self.calls["load"] += 1
        return super().load(course, name)

    def save(self, course: str, name: str, entry: Entry) -> None:
        self.calls["save"] += 1
        super().save(course, name, entry)


def test_the_store_is_bounded_and_the_work_for_a_trial_does_not_grow(tmp_path: Path) -> None:
    store, trials = Counting(), 50
    study = opened(tmp_path / "journal", trials)
    collector = Collector(store, study, KEEP, tmp_path / "retrain.json")
    collector.begin()
    costs = []
    while (job := study.ask()) is not None:
        store.calls.clear()
        result = work(store, job, fate_of(job))
        own = store.calls.copy()
        if result is None:
            study.fail(job, "broken")
        else:
            study.finish(job, result)
        collector.ended(job, "complete", "", result)
        costs.append((store.calls - own).total())
        assert len(large(store)) <= LARGEST
        assert store.names(NOTES) == []
    assert len(costs) > trials
    assert max(costs[35:]) <= max(costs[:25])
    assert max(costs) < 40
    check_kept(store, study)
    collector.finish()
    assert len(large(store)) <= LARGEST
    check_kept(store, study)


def test_replicates_stay_and_what_chose_the_model_does_not(tmp_path: Path) -> None:
    store, study, path = MemoryStore(), opened(tmp_path / "journal", 6), tmp_path / "retrain.json"
    collector = Collector(store, study, 1, path)
    while (job := study.ask()) is not None:
        end(study, collector, store, job, "complete")
    trial, trainings = study.trial(0), {}
    for replicate in (1, 2):
        again = Job("retrain", 0, replicate, trial.configuration)
        result = work(store, again, "complete")
        assert result is not None
        trainings[str(replicate)] = Training(result).to_json()
        collector.ended(again, "complete", "", result)
        finals = {course for course, name in large(store) if name == FINAL}
        assert {result.baseline.course, result.fine_tune.course} <= finals
    before = large(store)
    path.write_text(json.dumps(trainings))
    Note(store, "retrain-0007-replicate-1", {"phase": "retrain", "number": 7}).add("ef" * 16)
    store.save("ef" * 16, "state", Entry({}, {}))  # of a job that was never finished
    store.save("cd" * 16, "probabilities-0", Entry({}, {}))
    collector.finish()
    assert {course for course, _ in large(store)} == {course for course, _ in before}
    assert store.names(NOTES) == store.names("cd" * 16) == []
    for training in trainings.values():
        assert store.exists(training["result"]["fine_tune"]["key"][:32], FINAL)


def test_of_an_open_job_nothing_is_removed(tmp_path: Path) -> None:
    store, journal = MemoryStore(), tmp_path / "journal"
    study = opened(journal, 6)
    collector = Collector(store, study, 1, tmp_path / "retrain.json")
    job = study.ask()
    assert job is not None
    work(store, job, "complete")
    before = list(store.entries())
    study.give_back(job, "killed")
    collector.ended(job, "lost", "", None)
    assert list(store.entries()) == before
    again = opened(journal, 6)  # the driver was killed
    Collector(store, again, 1, tmp_path / "retrain.json").begin()
    assert list(store.entries()) == before
    job = again.ask()
    assert job is not None
    result = work(store, job, "complete")
    assert result is not None
    again.finish(job, result)  # and killed again, before the collector was told
    Collector(store, opened(journal, 6), 1, tmp_path / "retrain.json").begin()
    kept = {result.baseline.course, result.fine_tune.course}
    assert large(store) == [(course, FINAL) for course in sorted(kept)]
    assert store.names(NOTES) == []


def test_a_baseline_stays_while_another_open_trial_has_it(tmp_path: Path) -> None:
    """The first trial trained it and failed, so no result names it."""
    store, patient = MemoryStore(), FailurePolicy(min_ended=1000)
    points = (SPACE.point({"fine_tune.frozen_layers": 4}, "point"),)
    journal = tmp_path / "journal"
    study = open_study(journal, 3, "random", 0, points, patient, POLICY, SPACE)
    collector = Collector(store, study, 1, tmp_path / "retrain.json")
    first = study.ask()
    assert first is not None
    end(study, collector, store, first, "failed")
    (baseline,) = [course for course, name in large(store) if name == FINAL]
    second = study.ask()
    assert second is not None
    assert second.role == "point"
    end(study, collector, store, second, "failed")
    assert large(store) == [], baseline


class Deadly(FileStore):
    """Kills its process at the n-th deletion from now on, before or after it."""

    def __init__(self, root: Path, strike: int, *, after: bool) -> None:
        super().__init__(root)
        self._left, self._after = strike, after

    def delete(self, course: str, name: str) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        super().delete(course, name)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def drive(folder: Path, store: Store, trials: int) -> None:
    """A whole search from wherever it is, one job after the other."""
    study = opened(folder / "journal", trials)
    collector = Collector(store, study, KEEP, folder / "retrain.json")
    collector.begin()
    while (job := study.ask()) is not None:
        end(study, collector, store, job, fate_of(job))
    collector.finish()


def died(act: Callable[[], None]) -> bool:
    """Do it in a child process; whether SIGKILL ended it."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_driver_that_is_killed_in_a_removal_loses_nothing(tmp_path: Path) -> None:
    """Killed at every third deletion of a search, again and again; then it goes on to the end."""
    trials, whole, root = 8, tmp_path / "whole", tmp_path / "store"
    whole.mkdir()
    drive(whole, open_store(whole / "store"), trials)
    kills = 0

    def next_drive() -> None:
        drive(tmp_path, Deadly(root, 3, after=kills % 2 == 0), trials)

    while died(next_drive):
        kills += 1
        store, study = open_store(root), opened(tmp_path / "journal", trials)
        check_kept(store, study)
        assert kills < 100
    assert kills > 5
    store, study = open_store(root), opened(tmp_path / "journal", trials)
    check_kept(store, study)
    assert len(study.trials()) == len(opened(whole / "journal", trials).trials())
    assert large(store) == large(open_store(whole / "store"))


@pytest.mark.parametrize(
    ("written", "given", "kept"),
    [
        (None, "", 50),
        ("trials: 3", "", "all"),
        ("trials: 3", "keep: 5", 5),
        ("trials: 3\nkeep: 7", "", 50),
        ("trials: [", "", "all"),
    ],
)
def test_a_run_without_the_key_goes_on_to_keep_all(
    tmp_path: Path, written: str | None, given: str, kept: object
) -> None:
    run, file = Run(tmp_path / "run"), tmp_path / "mine.yaml"
    run.folder.mkdir()
    if written is not None:
        run.definition.write_text(written)
    file.write_text(given)
    assert keep_as_begun(load(str(file)), run).keep == kept


def test_a_removal_that_fails_does_not_end_the_search(tmp_path: Path) -> None:
    class Stubborn(MemoryStore):
        def delete(self, course: str, name: str) -> None:
            raise PermissionError(course, name)

    store, study = Stubborn(), opened(tmp_path / "journal", 6)
    collector = Collector(store, study, 1, tmp_path / "retrain.json")
    while (job := study.ask()) is not None:
        end(study, collector, store, job, "complete")
    assert study.finished
