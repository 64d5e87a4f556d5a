"""Retraining: the best configurations are trained again with new seeds, and one wins.

The best values of the search are partly luck, so they do not count. The winner is the
configuration with the best mean over replicates 1, 2, ..., none of which was selected. The
reference configuration gets the same replicates. Results are kept in `RUN/retrain.json`, by
configuration, replicate and protocol, and are used again when the run is continued or extended.
They are not part of the study.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.run_folder import NotARun, read_json
from shiftsearch.experiments.sections import Retrain
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Value
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import content_key
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.judging.front import chosen
from shiftsearch.search.study.records import LOST_BEFORE, TrialRecord, objective_of
from shiftsearch.search.study.study import MAX_LOSSES

_Wanted = tuple[int, dict[str, Value], float | None, bool]
_TRAIN_ON = "fine_tune.train_on"


@dataclass(frozen=True)
class Training:
    """One ended training, as `retrain.json` keeps it: either it has a result or it failed.

    Attributes:
        result: the protocol's result; None if it failed.
        reason: why it failed; empty otherwise.
        lost: whether it failed because its worker was lost too often.

    Raises:
        ValueError: it has both a result and a reason, or neither.
    """

    result: ProtocolResult | None = None
    reason: str = ""
    lost: bool = False

    def __post_init__(self) -> None:
        if (self.result is None) == (self.reason == ""):
            raise ValueError("a training needs either a result or a reason why it failed")

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Training:
        """The inverse of `to_json`.

        The first version did not write `lost`; it is recognised by the reason.

        Raises:
            ValueError: `raw` is not a training.
        """
        try:
            result, reason = raw.get("result"), raw.get("reason", "")
            return cls(
                None if result is None else ProtocolResult.from_json(result),
                reason,
                raw.get("lost", bool(LOST_BEFORE.match(reason))),
            )
        except (AttributeError, TypeError) as error:
            raise ValueError(f"is not a training ({type(error).__name__}: {error})") from None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        if self.result is not None:
            return {"result": self.result.to_json()}
        return {"reason": self.reason} | ({"lost": True} if self.lost else {})


@dataclass(frozen=True)
class Candidate:
    """A configuration that is retrained.

    Attributes:
        number: number of its trial in the study.
        configuration: full and canonical.
        search_value: the objective in the search (replicate 0); None if that trial failed.
        fine_tune_on: the splits that its fine-tune trains on: "TEST" or "TRAIN+TEST".
        results: results of the finished replicates, by replicate.
        failures: reasons of the failed replicates, by replicate.
        competes: whether it can win; a second reading of the protocol is only reported.
        objective: what the configurations are ranked by.
    """

    number: int
    configuration: Mapping[str, Value]
    search_value: float | None
    fine_tune_on: str
    results: Mapping[int, ProtocolResult]
    failures: Mapping[int, str]
    competes: bool = True
    objective: Objective = ACCURACY

    @property
    def values(self) -> list[float]:
        """The objective of each finished replicate, by number."""
        return [self.objective.of(result) for _, result in sorted(self.results.items())]

    @property
    def mean(self) -> float | None:
        """Mean objective over replicates; None if one failed or none is finished."""
        if self.failures or not self.results:
            return None
        return fmean(self.values)


class Retraining:
    """A `search.executing.jobs.JobSource` of the trainings to do, the reference's first.

    Args:
        trials: the study's trials, all ended.
        settings: number of configurations and replicates.
        protocol: the run's protocol.
        also: a second reading of the protocol for the reference configuration, or None.
        path: the file `retrain.json`.
        kept: returns whether the store still holds a result's weights; if not, the training is
            repeated.
        costs: costs that the search minimises; with any, trials that represent the Pareto front
            are retrained.

    Raises:
        experiments.run_folder.NotARun: the file is damaged.
    """

    def __init__(
        self,
        trials: Sequence[TrialRecord],
        settings: Retrain,
        protocol: Protocol,
        also: Literal["TRAIN+TEST"] | None,
        path: Path,
        kept: Callable[[ProtocolResult], bool],
        costs: Sequence[str] = (),
    ) -> None:
        self._unable = {t.number for t in trials if t.infeasible}
        self._path, self._replicates, self._protocol = path, settings.replicates, protocol
        self._ended, self._objective = _read(path), objective_of(trials)
        self._losses: Counter[str] = Counter()
        top = [
            (t.number, dict(t.configuration), t.value, True)
            for t in chosen(trials, costs, settings.top_k)
        ]
        reference = next(t for t in trials if t.role == "reference")
        own = dict(reference.configuration)
        wanted: list[_Wanted] = [(reference.number, own, reference.value, True)]
        wanted += top
        if also is not None:
            wanted.append((reference.number, own | {_TRAIN_ON: also}, reference.value, False))
        distinct: dict[str, _Wanted] = {}
        for one in wanted:
            distinct.setdefault(training_key(one[1], 1, protocol), one)
        self._wanted = list(distinct.values())
        self._ended = {
            key: training
            for key, training in self._ended.items()
            if not training.lost and (training.result is None or kept(training.result))
        }
        self._queue = deque(job for job in self._jobs() if self._key(job) not in self._ended)
        self._open: set[str] = set()

    @property
    def total(self) -> int:
        """Number of all trainings, including those that are done."""
        return len(self._wanted) * self._replicates

    @property
    def done(self) -> int:
        """Number of ended trainings, including those that failed."""
        return self.total - len(self._queue) - len(self._open)

    @property
    def finished(self) -> bool:
        """Whether every training has ended."""
        return not self._queue and not self._open

    @property
    def lost(self) -> bool:
        """Whether a training failed because its worker was lost; the next call tries it again."""
        ended = (self._ended.get(self._key(job)) for job in self._jobs())
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
        self._record(job, Training(result))

    def fail(self, job: Job, reason: str) -> None:
        """Record the reason; the configuration cannot win any more."""
        self._record(job, Training(reason=reason))

    def report(self, job: Job, epochs: int, value: float) -> bool:
        """Never stop a training; replicates have no intermediate values."""
        return False

    def share(self, job: Job) -> None:
        """Do nothing; every replicate trains its own baseline."""

    def give_back(self, job: Job, reason: str) -> None:
        """Queue the training again, at most `MAX_LOSSES` times; then it fails for this call."""
        self._losses[job.name] += 1
        if self._losses[job.name] > MAX_LOSSES:
            text = f"lost its worker {self._losses[job.name]} times; last: {reason}"
            self._record(job, Training(reason=text, lost=True))
            return
        self._open.discard(job.name)
        self._queue.append(job)

    def candidates(self) -> list[Candidate]:
        """All retrained configurations with their results so far, the reference first."""
        candidates = []
        for wanted in self._wanted:
            number, configuration, value, competes = wanted
            jobs = self._jobs(wanted)
            found = {job.replicate: self._ended.get(self._key(job)) for job in jobs}
            ended = {r: training for r, training in found.items() if training is not None}
            candidates.append(
                Candidate(
                    number,
                    configuration,
                    value,
                    _fine_tuned_on(configuration, self._protocol),
                    {r: t.result for r, t in ended.items() if t.result is not None},
                    {r: t.reason for r, t in ended.items() if t.result is None},
                    competes,
                    self._objective,
                )
            )
        return candidates

    def winner(self) -> Candidate | None:
        """The configuration with the best mean over replicates; None if all failed.

        The reference can win, too, unless it breaks a constraint.
        """
        able = [c for c in self.candidates() if c.competes and c.mean is not None]
        able = [c for c in able if c.number not in self._unable]
        return max(able, key=lambda c: (c.mean or 0.0, -c.number), default=None)

    def fingerprint(self) -> str:
        """A digest of all trainings and their results."""
        found = [(key, self._ended.get(key)) for key in map(self._key, self._jobs())]
        return content_key([[key, t and t.to_json()] for key, t in found])

    def _jobs(self, *wanted: _Wanted) -> list[Job]:
        return [
            Job("retrain", number, replicate, configuration)
            for number, configuration, _, _ in wanted or self._wanted
            for replicate in range(1, self._replicates + 1)
        ]

    def _record(self, job: Job, training: Training) -> None:
        self._ended[self._key(job)] = training
        written = {key: training.to_json() for key, training in self._ended.items()}
        text = json.dumps(written, indent=1, allow_nan=False)
        write_atomically(self._path, text.encode())
        self._open.discard(job.name)

    def _key(self, job: Job) -> str:
        return training_key(job.configuration, job.replicate, self._protocol)


def training_key(configuration: Mapping[str, Value], replicate: int, protocol: Protocol) -> str:
    """The key of a training in `retrain.json`: 32 hex digits."""
    content = Hyperparameters.flat_content(configuration)
    content.pop(_TRAIN_ON, None)
    return content_key([content, replicate, _fine_tuned_on(configuration, protocol)])


def _fine_tuned_on(configuration: Mapping[str, Value], protocol: Protocol) -> str:
    return protocol.fine_tuned_on(Hyperparameters.from_flat(configuration).fine_tune)


def _read(path: Path) -> dict[str, Training]:
    raw = read_json(path) if path.exists() else {}
    if not isinstance(raw, dict):
        raise NotARun(f"{path}: is damaged, it holds no trainings by key")
    try:
        return {key: Training.from_json(training) for key, training in raw.items()}
    except ValueError as error:
        raise NotARun(f"{path}: is damaged: {error}") from None
