"""Retraining: the best configurations are trained again under new seeds, and one wins.

The value that a configuration had in the search is the best of many noisy ones, so it does not
count: the winner has the best mean over replicates 1, 2, ..., which nobody selected. The reference
configuration gets the same replicates. Results are kept in `RUN/retrain.json`, by configuration,
replicate and protocol, and are found there when the run is continued or extended. The study does
not hold them.
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
from shiftsearch.experiments.definition import Retrain
from shiftsearch.experiments.run_folder import read_json
from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.store import content_key
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.records import TrialRecord, best_families
from shiftsearch.search.study.study import MAX_LOSSES

FineTuneOn = Literal["TEST", "TRAIN+TEST"]
_Wanted = tuple[int, dict[str, Value], float | None, FineTuneOn]


@dataclass(frozen=True)
class Candidate:
    """A configuration that is retrained.

    Attributes:
        number: its trial in the study.
        configuration: full and canonical.
        search_value: the objective in the search, of replicate 0; None if that trial failed.
        fine_tune_on: what its fine-tune trains on.
        results: by replicate, results of the protocol; only finished ones.
        failures: by replicate, why it failed.
    """

    number: int
    configuration: Mapping[str, Value]
    search_value: float | None
    fine_tune_on: FineTuneOn
    results: Mapping[int, Mapping[str, Any]]
    failures: Mapping[int, str]

    @property
    def mean(self) -> float | None:
        """Mean `test2_accuracy` over replicates; None when one failed or is missing."""
        if self.failures or not self.results:
            return None
        return fmean(r["test2_accuracy"] for r in self.results.values())


class Retraining:
    """A `search.executing.jobs.JobSource` of the trainings to do, the reference's first.

    Args:
        trials: of the study, ended.
        settings: how many configurations and replicates.
        fine_tune_on: the run's protocol.
        also: a second reading of the protocol for the reference configuration, or None.
        path: of `retrain.json`.
        kept: whether the store still holds a result's weights; otherwise it is trained again.
    """

    def __init__(
        self,
        trials: Sequence[TrialRecord],
        settings: Retrain,
        fine_tune_on: FineTuneOn,
        also: FineTuneOn | None,
        path: Path,
        kept: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self._path, self._replicates = path, settings.replicates
        self._records: dict[str, dict[str, Any]] = _read(path)
        self._losses: Counter[str] = Counter()
        top = [
            (t.number, dict(t.configuration), t.value, fine_tune_on)
            for t in best_families(trials, settings.top_k)
        ]
        reference = next(t for t in trials if t.role == "reference")
        entry = (reference.number, dict(reference.configuration), reference.value)
        wanted = [(*entry, fine_tune_on)]
        wanted += [c for c in top if c[1] != dict(reference.configuration)]
        wanted += [(*entry, also)] if also not in (None, fine_tune_on) else []
        self._wanted: list[_Wanted] = wanted
        self._records = {
            key: record
            for key, record in self._records.items()
            if not record.get("lost") and ("result" not in record or kept(record["result"]))
        }
        self._queue = deque(job for job in self._jobs() if self._key(job) not in self._records)
        self._open: set[str] = set()

    @property
    def total(self) -> int:
        """How many trainings there are, with those done."""
        return len(self._wanted) * self._replicates

    @property
    def done(self) -> int:
        """How many trainings have ended, with those that failed."""
        return self.total - len(self._queue) - len(self._open)

    @property
    def finished(self) -> bool:
        """Whether every training has ended."""
        return not self._queue and not self._open

    @property
    def lost(self) -> bool:
        """Whether a training failed because its worker was lost; the next call tries it again."""
        return any("lost" in self._records.get(self._key(job), {}) for job in self._jobs())

    def ask(self) -> Job | None:
        """The next training."""
        if not self._queue:
            return None
        job = self._queue.popleft()
        self._open.add(job.name)
        return job

    def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """Record the result."""
        self._record(job, {"result": dict(result)})

    def fail(self, job: Job, reason: str) -> None:
        """Record the reason; the configuration cannot win any more."""
        self._record(job, {"reason": reason})

    def reach(self, job: Job, epochs: int, value: float) -> bool:
        """Never stop: replicates have no rungs."""
        return False

    def share(self, job: Job) -> None:
        """Do nothing: every replicate trains its own baseline."""

    def give_back(self, job: Job, reason: str) -> None:
        """Put it into the queue again, at most `MAX_LOSSES` times; then it fails in this call."""
        self._losses[job.name] += 1
        if self._losses[job.name] > MAX_LOSSES:
            text = f"lost its worker {self._losses[job.name]} times; last: {reason}"
            self._record(job, {"reason": text, "lost": True})
            return
        self._open.discard(job.name)
        self._queue.append(job)

    def candidates(self) -> list[Candidate]:
        """All retrained configurations with their results so far; the reference first."""
        found = []
        for wanted in self._wanted:
            number, configuration, value, fine_tune_on = wanted
            jobs = self._jobs(wanted)
            records = {job.replicate: self._records.get(self._key(job), {}) for job in jobs}
            found.append(
                Candidate(
                    number,
                    configuration,
                    value,
                    fine_tune_on,
                    {r: rec["result"] for r, rec in records.items() if "result" in rec},
                    {r: rec["reason"] for r, rec in records.items() if "reason" in rec},
                )
            )
        return found

    def winner(self) -> Candidate | None:
        """The best mean over replicates, the reference included; None when all of them failed."""
        main = self._wanted[0][3]
        able = [c for c in self.candidates() if c.fine_tune_on == main and c.mean is not None]
        return max(able, key=lambda c: (c.mean or 0.0, -c.number), default=None)

    def fingerprint(self) -> str:
        """A digest of all trainings and their results."""
        keys = [self._key(job) for job in self._jobs()]
        return content_key([[k, self._records.get(k)] for k in keys])

    def _jobs(self, *wanted: _Wanted) -> list[Job]:
        return [
            Job("retrain", number, replicate, configuration, fine_tune_on)
            for number, configuration, _, fine_tune_on in wanted or self._wanted
            for replicate in range(1, self._replicates + 1)
        ]

    def _record(self, job: Job, record: dict[str, Any]) -> None:
        self._records[self._key(job)] = record
        text = json.dumps(self._records, indent=1, allow_nan=False)
        write_atomically(self._path, text.encode())
        self._open.discard(job.name)

    @staticmethod
    def _key(job: Job) -> str:
        return content_key(
            [Hyperparameters.flat_content(job.configuration), job.replicate, job.fine_tune_on]
        )


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    records: dict[str, dict[str, Any]] = read_json(path)
    return records
