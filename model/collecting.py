"""Removes weights and states from a store, so that it does not grow with every trial.

A stage is a pure function of its course, so what is removed here can be computed again. The
history and the scores of a finished stage stay. Which stages are needed is not decided here, but
in `search.study.needed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shiftsearch.model.report import keep_history
from shiftsearch.model.result import StageSummary
from shiftsearch.model.store import Entry, Store, content_key

FINAL = "final"
NOTES = content_key("notes of jobs")
"""The course under which jobs note what they use; no stage has it."""


def is_large(name: str) -> bool:
    """Whether an entry of this name holds weights or a resumable state."""
    return name in (FINAL, "state") or name.startswith("epochs-")


def remove_weights(store: Store, course: str, stage: StageSummary | None = None) -> None:
    """Remove the weights and states of a course.

    Args:
        store: holds it.
        course: the course's key.
        stage: the finished stage, if it is the stage of a trial that has a result. Its history is
            kept; nothing is removed if that is impossible, because its scores are damaged.
    """
    names = [name for name in store.names(course) if is_large(name)]
    if stage is None or not names or keep_history(store, stage):
        for name in names:
            store.delete(course, name)


def remove_partial(store: Store, course: str) -> None:
    """Remove what a finished course keeps besides its result: states, and those of rungs."""
    names = store.names(course)
    for name in names if FINAL in names else ():
        if is_large(name) and name != FINAL:
            store.delete(course, name)


class Note:
    """The courses that a job uses, in the order in which they begin, the baseline's first.

    The worker writes it before it trains, so that also the courses of a job are known that is
    stopped, fails or is killed.

    Args:
        store: the run's.
        job: name of the job.
        about: JSON values that tell whose note it is.
    """

    def __init__(self, store: Store, job: str, about: Mapping[str, Any]) -> None:
        self._store, self._job, self._about = store, job, about
        self._courses: list[str] = []

    def add(self, course: str) -> None:
        """Note a course that is used next."""
        if course not in self._courses:
            self._courses.append(course)
            record = {**self._about, "courses": self._courses}
            self._store.save(NOTES, self._job, Entry({}, record))


def noted(store: Store, job: str) -> Sequence[str]:
    """The courses that a job has noted, the baseline's first; empty without a note."""
    entry = store.load(NOTES, job)
    return [] if entry is None else [str(course) for course in entry.record["courses"]]


def notes(store: Store) -> dict[str, Mapping[str, Any]]:
    """What all notes tell about their job, by the job's name; damaged ones are left out."""
    found = {name: store.load(NOTES, name) for name in store.names(NOTES)}
    return {name: entry.record for name, entry in found.items() if entry is not None}
