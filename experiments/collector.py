"""Keeps the store of a run small: removes weights that nothing needs any more, as trials end.

What is needed follows from the study's journal and `retrain.json`, which are written first. Only
what is not needed is removed, so a kill at any moment leaves too much, never too little, and the
next call removes the rest. A worker that meets a removed baseline computes it again. The driver's
work for a trial does not grow with the number of trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shiftsearch.experiments.live.listeners import harmless
from shiftsearch.experiments.outcome.training import read_trainings
from shiftsearch.model.collecting import (
    NOTES,
    is_large,
    noted,
    notes,
    remove_partial,
    remove_weights,
)
from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import STAGES, ProtocolResult
from shiftsearch.model.store import Store
from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.study.study import Study


class Collector:
    """A `search.executing.jobs.Listener` that removes weights when a job has ended.

    Contract: only the driver that holds the run's lock has one; it is told after the study.

    Args:
        store: the run's.
        study: the run's.
        keep: number of the best trials whose weights stay, at least 1.
        retrained: the file `retrain.json`; the weights of all its trainings stay.
    """

    def __init__(self, store: Store, study: Study, keep: int, retrained: Path) -> None:
        self._store, self._study, self._retrained = store, study, retrained
        self._needed = study.needed(keep)

    def begin(self) -> None:
        """Remove what earlier calls have left; call it before any job runs.

        Courses that belong to no ended trial stay: they may be those of open jobs.
        """
        self._needed.released()
        trials = self._study.trials()
        for name, about in notes(self._store).items():
            number = int(about["number"])
            is_known = about["phase"] == "search" and number < len(trials)
            if is_known and trials[number].has_ended:
                self._settle(name, trials[number].configuration)
        for course in self._large():
            if course in self._needed.stages:
                self._clear(course)

    def finish(self) -> None:
        """Remove all that nothing needs; call it when no job runs and a model is chosen."""
        ended = read_trainings(self._retrained).values()
        trained = {course for t in ended if t.result is not None for course in _courses(t.result)}
        for course in self._large():
            if course in trained:
                remove_partial(self._store, course)
            else:
                self._clear(course)
        for course, name in list(self._store.entries()):
            # The predictions from which the model was chosen are quickly made again.
            if course == NOTES or name.startswith("probabilities-"):
                self._store.delete(course, name)

    def _settle(self, name: str, configuration: Mapping[str, Value]) -> None:
        """Remove what an ended trial alone needed, and what is needless because it has ended."""
        courses = noted(self._store, name)
        shared = courses[:1] if self._needed.is_open(configuration) else []
        for course in dict.fromkeys([*courses, *self._needed.released()]):
            if course not in shared:  # else an open trial uses this baseline
                self._clear(course)
        self._store.delete(NOTES, name)

    def _clear(self, course: str) -> None:
        if self._needed.is_needed(course):
            remove_partial(self._store, course)
        else:
            remove_weights(self._store, course, self._needed.stages.get(course))

    def _large(self) -> list[str]:
        """All courses of the store that have weights or a state."""
        found = (course for course, name in self._store.entries() if is_large(name))
        return list(dict.fromkeys(found))

    # ---- Listener

    @harmless
    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Remove what is not needed any more."""
        if job.phase == "search":
            if self._study.trial(job.number).has_ended:  # else it is handed out again
                self._settle(job.name, job.configuration)
        elif result is not None:  # the folds' fine-tunes
            for course in noted(self._store, job.name):
                if course not in _courses(result):
                    remove_weights(self._store, course)
            self._store.delete(NOTES, job.name)

    def started(self, job: Job) -> None:
        """Do nothing."""

    def placed(self, job: Job, place: Place) -> None:
        """Do nothing."""

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Do nothing."""


def _courses(result: ProtocolResult) -> list[str]:
    return [result.stage(stage).course for stage in STAGES]
