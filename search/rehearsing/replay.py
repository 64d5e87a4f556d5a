"""A study driven by recorded trials on a simulated clock: searches in milliseconds, no Ray.

The study is the one that a search uses; only the workers are simulated. The surrogate gives the
value and the seconds of each configuration.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from shiftsearch.model.objective import ACCURACY
from shiftsearch.model.result import ProtocolResult, SplitResult, StageSummary
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.rehearsing.surrogate import Expected, Surrogate
from shiftsearch.search.study.goals import Limits
from shiftsearch.search.study.incumbents import incumbents
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import Study


@dataclass(frozen=True)
class Workers:
    """Simulated workers.

    Attributes:
        count: number of workers.
        start: seconds until the first trial begins.
        per_trial: seconds from a trial's end to the next one's first step.
        slowness: factor on all recorded seconds.
    """

    count: int = 2
    start: float = 0.0
    per_trial: float = 0.0
    slowness: float = 1.0


@dataclass(frozen=True)
class Replayed:
    """A complete trial of a simulated search.

    Attributes:
        number: its number in the study.
        seconds: simulated time of its end.
        value: `test2_accuracy` on the selection part.
        held_out: accuracy on the held-out part; None if it was not recorded.
    """

    number: int
    seconds: float
    value: float
    held_out: float | None


Enough = Callable[[Sequence[Replayed]], bool]
Course = Iterator[tuple[float, str, Expected]]
"""The events of a job, in order: seconds until the event, its kind, the expected result."""


def replay(
    surrogate: Surrogate,
    space: Space,
    settings: Settings,
    workers: Workers,
    enough: Enough | None = None,
) -> list[Replayed]:
    """Simulate one search; returns its complete trials in the order of their ends.

    Args:
        surrogate: fitted to a recording.
        space: the searched space, the one of the recording.
        settings: the study's settings, with its seed; constraints and costs are ignored.
        workers: the simulated workers.
        enough: called with all complete trials after each end; True ends the search.
    """
    return _Simulation(surrogate, space, settings, workers, enough or (lambda ended: False)).run()


class _Simulation:
    def __init__(
        self,
        surrogate: Surrogate,
        space: Space,
        settings: Settings,
        workers: Workers,
        enough: Enough,
    ) -> None:
        self.surrogate = surrogate.drawn(settings.seed)
        self.workers, self.enough = workers, enough
        self.now = 0.0
        # The surrogate knows no costs. A recorded value is the objective's; `_result` gives it as
        # an accuracy.
        alone = replace(settings, objective=ACCURACY, costs=(), limits=Limits())
        self.study = Study(None, space, alone, {}, clock=lambda: self.now)
        self.ended: list[Replayed] = []
        self._events: list[tuple[float, int, Job, Course]] = []
        self._order = itertools.count()
        self._pending: dict[int, tuple[str, Expected]] = {}

    def run(self) -> list[Replayed]:
        """Ask while a worker is idle, then go to the next event, until none is left or `enough`.

        Returns:
            The complete trials in the order of their ends.
        """
        self.now = self.workers.start
        idle = self.workers.count
        while True:
            while idle and (job := self.study.ask()) is not None:
                idle -= 1
                self._schedule(job, self._course(job), self.workers.per_trial)
            if not self._events or self.enough(self.ended):
                return self.ended
            self.now, _, job, course = heapq.heappop(self._events)
            if self._happen(job):
                idle += 1
            else:
                self._schedule(job, course, 0.0)

    def _schedule(self, job: Job, course: Course, delay: float) -> None:
        seconds, kind, expected = next(course)
        self._pending[job.number] = (kind, expected)
        at = self.now + delay + seconds * self.workers.slowness
        heapq.heappush(self._events, (at, next(self._order), job, course))

    def _course(self, job: Job) -> Course:
        """The fine-tunes that it reports, the end of a baseline of its own, and its end."""
        expected = self.surrogate(job.configuration)
        trained = 0.0
        if self.study.trial(job.number).branch_of is None:
            epochs = len(expected.baseline_seconds)
            for start in job.report_at.values():
                if start >= epochs or start not in expected.intermediate:
                    continue
                until = expected.baseline_seconds[start - 1]
                yield until - trained + expected.fine_tune_seconds, f"{start}", expected
                trained = until
            yield expected.baseline_seconds[-1] - trained, "share", expected
        yield expected.fine_tune_seconds, "finish", expected

    def _happen(self, job: Job) -> bool:
        """Tell the study of an event; True if the job has ended."""
        kind, expected = self._pending[job.number]
        if kind == "share":
            self.study.share(job)
            return False
        if kind != "finish":
            return self.study.report(job, int(kind), expected.intermediate[int(kind)])
        self.study.finish(job, _result(expected))
        self.ended.append(Replayed(job.number, self.now, expected.value, expected.held_out))
        return True


def _result(expected: Expected) -> ProtocolResult:
    """As a worker gives it; no image is classified, so counts and losses are 0."""
    unknown = SplitResult(0, 0.0, 0.0)
    epochs, seconds = len(expected.baseline_seconds), expected.baseline_seconds[-1]
    return ProtocolResult(
        StageSummary("", epochs, epochs, seconds, {}, unknown, unknown),
        StageSummary(
            "", 0, 0, expected.fine_tune_seconds, {}, unknown, SplitResult(0, expected.value, 0.0)
        ),
    )


def time_to_value(trials: Sequence[Replayed], target: float, *, held_out: bool) -> float | None:
    """Seconds until the best trial by selection reaches the target; None if it never does.

    Args:
        trials: in the order of their ends.
        target: an accuracy in 0..1.
        held_out: True: the target is a held-out accuracy; False: an accuracy on the selection
            part.
    """
    for trial in incumbents(trials, lambda t: t.value):
        reached = trial.held_out if held_out else trial.value
        if reached is not None and reached >= target:
            return trial.seconds
    return None
