"""The listeners of a search: one that fails harms nothing, and is heard of once.

A listener that cannot write fails at every epoch of every job, so the first error of each kind is
logged with its traceback, and the rest are counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job, Listener

_LOG = logging.getLogger(__name__)
_counts: Counter[tuple[str, str]] = Counter()


def note_failure(who: str, error: Exception) -> None:
    """Log an error of a listener's method the first time its type comes; count it from then on."""
    kind = who, type(error).__name__
    _counts[kind] += 1
    if _counts[kind] == 1:
        _LOG.warning("%s failed; the search goes on", who, exc_info=error)


def say_failures() -> None:
    """Log how often those failed that failed more than once, and count anew."""
    for (who, kind), count in _counts.items():
        if count > 1:
            _LOG.warning("%s failed %d times in all with %s", who, count, kind)
    _counts.clear()


class Audience:
    """A `search.executing.jobs.Listener` that tells several others, one after another."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def started(self, job: Job) -> None:
        """A worker was asked to do the job."""
        self._tell("started", lambda listener: listener.started(job))

    def placed(self, job: Job, node: str, device: str) -> None:
        """The worker took it up."""
        self._tell("placed", lambda listener: listener.placed(job, node, device))

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """An epoch ended."""
        self._tell("epoch", lambda listener: listener.epoch(job, stage, row))

    def ended(self, job: Job, state: str, detail: str, result: ProtocolResult | None) -> None:
        """The job is closed."""
        self._tell("ended", lambda listener: listener.ended(job, state, detail, result))

    def _tell(self, name: str, event: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            try:
                event(listener)
            except Exception as error:  # whatever a listener raises harms nothing
                note_failure(f"{type(listener).__name__}.{name}", error)
