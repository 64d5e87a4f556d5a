"""A source of trainings that are kept in `retrain.json`; those that it holds are not repeated."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

from shiftsearch.experiments.outcome.training import Round, Training
from shiftsearch.experiments.outcome.trainings import Trainings
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place, Stays
from shiftsearch.search.study.study import MAX_LOSSES


class Repeats:
    """A `search.executing.jobs.JobSource` of replicates.

    Args:
        trainings: the run's trainings; each one that ends is added.
        jobs: the trainings to do, in this order.
        asked: whether a person asked for them, see `Training.asked`.
    """

    def __init__(self, trainings: Trainings, jobs: Sequence[Job], *, asked: bool = False) -> None:
        self._trainings, self._asked = trainings, asked
        self._jobs: list[Job] = []
        self._queue: deque[Job] = deque()
        self._open: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._round: Round | None = None
        self._stays = Stays()
        self._give(jobs)

    def _give(self, jobs: Sequence[Job]) -> None:
        """Add jobs, and queue those that the file does not hold."""
        self._jobs += jobs
        self._queue.extend(job for job in jobs if self._trainings.of(job) is None)

    @property
    def total(self) -> int:
        """Number of all trainings, including those that are done."""
        return len(self._jobs)

    @property
    def done(self) -> int:
        """Number of ended trainings, including those that failed."""
        return len(self._jobs) - len(self._queue) - len(self._open)

    @property
    def finished(self) -> bool:
        """Whether every training has ended."""
        return not self._queue and not self._open

    @property
    def lost(self) -> bool:
        """Whether a training failed because its worker was lost; the next call tries it again."""
        ended = map(self._trainings.of, self._jobs)
        return any(training is not None and training.lost for training in ended)

    def ask(self) -> Job | None:
        """The next training, or None."""
        if not self._queue:
            return None
        job = self._queue.popleft()
        self._open.add(job.name)
        return job

    def finish(self, job: Job, result: ProtocolResult) -> None:
        """Record the result."""
        self._record(job, Training(result, round=self._round, asked=self._asked))

    def fail(self, job: Job, reason: str) -> None:
        """Record the reason; the configuration cannot win any more."""
        self._record(job, Training(reason=reason, round=self._round, asked=self._asked))

    def placed(self, job: Job, place: Place) -> None:
        """Keep where a worker began; it is recorded with the training."""
        self._stays.begin(job.name, place)

    def report(self, job: Job, epochs: int, value: float) -> bool:
        """Never stop a training; replicates have no intermediate values."""
        return False

    def share(self, job: Job) -> None:
        """Do nothing; every replicate trains its own baseline."""

    def give_back(self, job: Job, reason: str) -> bool:
        """Queue the training again, at most `MAX_LOSSES` times; then it fails for this call."""
        self._losses[job.name] += 1
        if self._losses[job.name] <= MAX_LOSSES:
            self._stays.end(job.name)
            self._open.discard(job.name)
            self._queue.append(job)
            return True
        text = f"lost its worker {self._losses[job.name]} times; last: {reason}"
        self._record(job, Training(None, text, True, self._round, self._asked))
        return False

    def _record(self, job: Job, training: Training) -> None:
        training = replace(training, place=self._stays.end(job.name))
        self._trainings.record(job, training)
        self._open.discard(job.name)
