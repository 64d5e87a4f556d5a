"""Tells callbacks what happens, each in a thread of its own, so that none can delay the search."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from shiftsearch.experiments.callbacks.callback import Callback, Training
from shiftsearch.experiments.wording import in_one_line
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place

MOST_WAITING = 20_000
"""Events that wait for a slow callback; further ones are dropped."""
PATIENCE, IMPATIENCE = 120.0, 5.0
"""Most seconds to wait at the end until callbacks have heard everything; after an error."""


class Hearing:
    """A `search.executing.jobs.Listener` that passes copies of all events on to callbacks.

    As a context manager, waits at the end until they have heard everything, for a limited time.

    Args:
        callbacks: by name.
        warn: called with one line for each kind of error; from several threads.
        objective: what the trials are ranked by.
    """

    def __init__(
        self,
        callbacks: Sequence[tuple[str, Callback]],
        warn: Callable[[str], None],
        objective: Objective = ACCURACY,
    ) -> None:
        self._objective = objective
        self._ears = [_Ear(name, callback, warn) for name, callback in callbacks]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        end = time.monotonic() + (PATIENCE if error is None else IMPATIENCE)
        for ear in self._ears:
            ear.close()
        for ear in self._ears:
            ear.await_end(end)

    def begun(self, folder: Path, experiment: Mapping[str, Any]) -> None:
        """A call of `search` begins."""
        self._tell("begun", folder, experiment)

    def concluded(self, folder: Path, result: Mapping[str, Any]) -> None:
        """The search is complete."""
        self._tell("concluded", folder, result)

    # ---- Listener

    def started(self, job: Job) -> None:
        """Pass it on."""
        self._tell("started", _training(job))

    def placed(self, job: Job, place: Place) -> None:
        """Do nothing."""

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Pass it on."""
        self._tell("epoch", _training(job), stage, dict(row))

    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Pass it on."""
        scores = {} if result is None else scores_of(result, self._objective)
        self._tell("ended", _training(job), state, detail, scores)

    def _tell(self, method: str, *values: Any) -> None:
        for ear in self._ears:
            ear.tell(method, copy.deepcopy(values))


def scores_of(result: ProtocolResult, objective: Objective) -> dict[str, float]:
    """The accuracies of a result in 0..1, and the objective, named as in `trials.csv`."""
    stages = (("before", result.baseline), ("after", result.fine_tune))
    found = {f"test_accuracy_{when}": stage.test.accuracy for when, stage in stages}
    found |= {f"test2_accuracy_{when}": stage.test2.accuracy for when, stage in stages}
    named = {f"{objective.column}_{when}": objective.of_split(s.test2) for when, s in stages}
    return found | named


def _training(job: Job) -> Training:
    return Training(
        job.name,
        job.phase,
        job.number,
        job.replicate,
        job.role,
        job.branch_of,
        dict(job.configuration),
    )


class _Ear:
    """One callback, its thread, and the events that wait for it; None is the end."""

    def __init__(self, name: str, callback: Callback, warn: Callable[[str], None]) -> None:
        self._name, self._callback, self._warn = name, callback, warn
        self._events = SimpleQueue[tuple[str, tuple[Any, ...]] | None]()
        self._failures = Counter[str]()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"callback {name}", daemon=True)
        self._thread.start()

    def tell(self, method: str, values: tuple[Any, ...]) -> None:
        """Let the thread call a method with values; dropped if too many events wait."""
        if self._events.qsize() < MOST_WAITING:
            self._events.put((method, values))
            return
        self._dropped += 1
        if self._dropped == 1:
            self._warn(
                f"callback {self._name} is slow; {MOST_WAITING} events wait, others are dropped"
            )

    def close(self) -> None:
        self._events.put(None)

    def await_end(self, end: float) -> None:
        """Wait until all events are heard, until `end` by the monotonic clock; say what is not."""
        self._thread.join(max(0.0, end - time.monotonic()))
        left = self._events.qsize() - 1 if self._thread.is_alive() else 0
        if self._thread.is_alive():
            self._warn(f"callback {self._name} is still at work; {max(left, 0)} events are lost")
        for method, count in self._failures.items():
            if count > 1:
                self._warn(f"callback {self._name}: {method} failed {count} times in all")

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            method, values = event
            try:
                getattr(self._callback, method)(*values)
            except BaseException as error:  # also sys.exit() in a person's code
                self._failures[method] += 1
                if self._failures[method] == 1:
                    more = "it is not called again" if method == "begun" else "the run goes on"
                    said = in_one_line(error)
                    self._warn(f"callback {self._name}: {method} failed, {more}: {said}")
                if method == "begun":
                    return
