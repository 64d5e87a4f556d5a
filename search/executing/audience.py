"""The listeners of a search. A listener that fails does not stop the search.

A listener that cannot write fails at every epoch of every job. So the first error of each type is
logged, with its traceback unless it is of the file system, and the others are counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from shiftsearch.data.os_errors import in_words
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import End, Job, Listener
from shiftsearch.search.executing.places import Place

_LOG = logging.getLogger(__name__)
_counts: Counter[tuple[str, str]] = Counter()


def note_failure(who: str, error: Exception) -> None:
    """Log the first error of each type in a listener's method, and count the others."""
    kind = who, type(error).__name__
    _counts[kind] += 1
    if _counts[kind] != 1:
        return
    if isinstance(error, OSError):
        _LOG.warning("%s failed; the search goes on: %s", who, in_words(error))
    else:
        _LOG.warning("%s failed; the search goes on", who, exc_info=error)


def say_failures() -> None:
    """Log the number of all errors that came more than once, and reset the counts."""
    for (who, kind), count in _counts.items():
        if count > 1:
            _LOG.warning("%s failed %d times in all with %s", who, count, kind)
    _counts.clear()


class Audience:
    """A `search.executing.jobs.Listener` that tells several others, one after another."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def started(self, job: Job) -> None:
        """Pass on that a worker was asked to do the job."""
        self._tell("started", lambda listener: listener.started(job))

    def placed(self, job: Job, place: Place) -> None:
        """Pass on that the worker began the job."""
        self._tell("placed", lambda listener: listener.placed(job, place))

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Pass on an epoch."""
        self._tell("epoch", lambda listener: listener.epoch(job, stage, row))

    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Pass on that the job is closed."""
        self._tell("ended", lambda listener: listener.ended(job, state, detail, result))

    def _tell(self, name: str, event: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            try:
                event(listener)
            except Exception as error:  # a listener must not stop the search
                note_failure(f"{type(listener).__name__}.{name}", error)
