"""The state of a running search, for all its views.

A `Board` is told what happens to jobs and phases, and `snapshot` returns its state as JSON values.
The live view, `RUN/status.json` and `shiftsearch status` show only what is in a snapshot.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from shiftsearch.experiments.exits import DONE, INTERRUPTED, TOO_MANY_FAILURES
from shiftsearch.experiments.live.pace import Pace
from shiftsearch.experiments.live.tally import Counts, RunningJob
from shiftsearch.experiments.outcome.whereabouts import Spot, spot_of
from shiftsearch.experiments.wording import one_line
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.study.records import TrialRecord

SCHEMA = 1
"""Version of the snapshot; raised when a field is removed or changes its meaning."""

Phase = Literal["starting", "search", "retrain", "concluding", "ended"]
Outcome = Literal["complete", "interrupted", "too many failures", "error"]

OUTCOMES: Mapping[int, Outcome] = {
    DONE: "complete",
    TOO_MANY_FAILURES: "too many failures",
    INTERRUPTED: "interrupted",
}
"""Outcomes by the exit code of the search."""

_KEPT = 5
"""Number of ended jobs, and of failures, in the snapshot."""


class Board:
    """A `search.executing.jobs.Listener` that keeps the state of the search.

    Contract: only the driver's one thread reports events; any thread may take snapshots. Events in
    an unexpected order raise no exception.

    Args:
        name: name of the experiment.
        wanted: number of trials to complete.
        max_epochs: largest number of epochs by stage, `baseline` and `fine_tune`.
        trials: the study's trials from earlier calls.
        objective: what the trials are ranked by.

    Attributes:
        version: increases with every event.
        concurrency: number of jobs at once, to estimate the time left.
        latest: the job that ended last.
    """

    def __init__(
        self,
        name: str,
        wanted: int,
        max_epochs: Mapping[str, int],
        trials: Sequence[TrialRecord] = (),
        objective: Objective = ACCURACY,
    ) -> None:
        self._objective = objective
        self._name, self._max_epochs = name, dict(max_epochs)
        self._lock = threading.Lock()
        self._phase: Phase = "starting"
        self._began = self._phase_began = time.monotonic()
        self._outcome: Outcome | None = None
        self._message = self._stop_reason = ""
        self._running: dict[str, RunningJob] = {}
        self._ended: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._failures: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._best: dict[str, Any] | None = None
        self._pace = Pace()
        self._did: dict[Spot, tuple[int, float]] = {}
        self._search = Counts(wanted)
        self._retrain: Counts | None = None
        for trial in trials:
            self._recall(trial)
        self.version, self.concurrency = 0, 1
        self.latest: Mapping[str, Any] = {}

    def _recall(self, trial: TrialRecord) -> None:
        """Count a trial of an earlier call."""
        self._search.refused += trial.state == "refused"
        if trial.state not in ("complete", "pruned", "failed"):
            return
        job = Job("search", trial.number, 0, {}, role=trial.role, branch_of=trial.branch_of)
        self._search.add(trial.state)
        self._note_place(trial.place, 0.0 if trial.place is None else trial.place.seconds)
        self._note(job, trial.state, trial.reason, trial.result, trial.seconds or 0.0)
        if trial.state == "complete":
            self._pace.note(trial.seconds or 0.0, branch=trial.branch_of is not None)

    # ---- the run

    def enter(self, phase: Phase, wanted: int | None = None, done: int = 0) -> None:
        """A phase begins.

        Args:
            phase: name of the phase.
            wanted: number of jobs to complete in it; None if the phase has no jobs.
            done: number of these jobs that are complete already.
        """
        with self._lock:
            self._phase, self._phase_began = phase, time.monotonic()
            if wanted is not None:
                if phase == "retrain":
                    self._retrain = Counts(wanted)
                self._current.wanted, self._current.done = wanted, done
                self._running.clear()
            self.version += 1

    def want(self, wanted: int) -> None:
        """Set the number of jobs to complete in the current phase."""
        with self._lock:
            self._current.wanted = wanted
            self.version += 1

    def refusals(self, count: int) -> None:
        """Set the number of trials that broke a constraint and were refused."""
        with self._lock:
            if count != self._search.refused:
                self._search.refused = count
                self.version += 1

    def stopping(self, reason: str) -> None:
        """Set the reason why no more jobs are asked for; empty if jobs are asked for."""
        with self._lock:
            if reason != self._stop_reason:
                self._stop_reason = reason
                self.version += 1

    def close(self, outcome: Outcome, message: str = "") -> None:
        """Set the outcome when the driver ends; later outcomes are ignored."""
        with self._lock:
            if self._outcome is None:
                self._phase, self._outcome = "ended", outcome
                self._message = one_line(message)
                self._running.clear()
                self.version += 1

    # ---- Listener

    def started(self, job: Job) -> None:
        """A job begins."""
        with self._lock:
            self._running[job.name] = RunningJob(job, time.monotonic())
            self.version += 1

    def placed(self, job: Job, place: Place) -> None:
        """Note where a job runs."""
        with self._lock:
            if job.name in self._running:
                running = self._running[job.name]
                running.place, running.placed = place, time.monotonic()
                self.version += 1

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Note how far a job is."""
        with self._lock:
            if job.name in self._running:
                running = self._running[job.name]
                running.stage, running.epoch = stage, int(row["epoch"])
                running.accuracy = row["validation_accuracy"]
                self.version += 1

    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """A job ended."""
        with self._lock:
            running = self._running.pop(job.name, None)
            seconds = time.monotonic() - running.since if running else 0.0
            if running is not None and state != "lost":
                self._note_place(running.place, time.monotonic() - running.placed)
            own = job.phase == self._phase  # not a training for the noise during the search
            if own or state == "lost":
                self._current.add(state)
            if own and state in ("complete", "pruned"):
                self._pace.note(seconds, branch=job.branch_of is not None)
            self._note(job, state, detail, result, seconds)
            self.version += 1

    def _note(
        self,
        job: Job,
        state: End,
        detail: str,
        result: ProtocolResult | None,
        seconds: float,
    ) -> None:
        """Add the job to the ended or failed ones, and keep it if it is the best."""
        value = self._objective.of_split
        before = None if result is None else value(result.baseline.test2)
        after = None if result is None else value(result.fine_tune.test2)
        known = None if self._best is None else self._best["after"]
        best = job.phase == "search" and after is not None and (known is None or after > known)
        shown = {"name": job.name, "trial": job.number, "before": before, "after": after}
        if best:
            self._best = shown
        self.latest = {
            **shown,
            "phase": job.phase,
            "state": state,
            "branch_of": job.branch_of,
            "reason": one_line(detail),
            "seconds": round(seconds, 1),
            "best": best,
        }
        (self._failures if state in ("failed", "lost") else self._ended).append(dict(self.latest))

    # ---- for the views

    def snapshot(self, *, running: bool = True) -> dict[str, Any]:
        """The state as JSON values; accuracies in 0..1 on TEST2's selection part.

        Args:
            running: whether to describe the jobs that run; without, the list is empty.

        Keys besides `schema`: name, objective (what `before` and `after` of a job are), phase,
        outcome (null until the end), message (of an error), stop_reason (empty while jobs are
        asked for), seconds (since the driver started), phase_seconds, seconds_left (in the phase;
        null if unknown), concurrency, counts (of the search: wanted, done, pruned, which are among
        the done, failed, lost, refused; and running, and waiting for a worker), retrain (the same
        counts of retraining, null before it), running, workers, places (what each did), best,
        ended and failures (newest last).
        """
        with self._lock:
            now = time.monotonic()
            left = self._seconds_left(now)
            return {
                "schema": SCHEMA,
                "name": self._name,
                "objective": self._objective.name,
                "phase": self._phase,
                "outcome": self._outcome,
                "message": self._message,
                "stop_reason": self._stop_reason,
                "seconds": round(now - self._began, 1),
                "phase_seconds": round(now - self._phase_began, 1),
                "seconds_left": None if left is None else round(left, 1),
                "concurrency": self.concurrency,
                "counts": {
                    **asdict(self._search),
                    "running": sum(r.place is not None for r in self._running.values()),
                    "waiting": sum(r.place is None for r in self._running.values()),
                },
                "retrain": None if self._retrain is None else asdict(self._retrain),
                "running": [r.to_json(now, self._max_epochs) for r in self._running.values()]
                if running
                else [],
                "workers": self._workers(),
                "places": self._places(),
                "best": self._best,
                "ended": list(self._ended),
                "failures": list(self._failures),
            }

    def _workers(self) -> list[dict[str, Any]]:
        places = Counter(spot_of(r.place) for r in self._running.values() if r.place is not None)
        return [
            {"node": host, "node_id": node_id, "device": device, "jobs": jobs}
            for (host, node_id, device), jobs in sorted(places.items())
        ]

    def _places(self) -> list[dict[str, Any]]:
        return [
            {"node": host, "node_id": node_id, "device": device, "jobs": jobs, "seconds": seconds}
            for (host, node_id, device), (jobs, seconds) in sorted(self._did.items())
        ]

    def _note_place(self, place: Place | None, seconds: float) -> None:
        if place is not None:
            jobs, before = self._did.get(spot_of(place), (0, 0.0))
            self._did[spot_of(place)] = jobs + 1, round(before + seconds, 1)

    def _seconds_left(self, now: float) -> float | None:
        if self._phase not in ("search", "retrain"):
            return None
        # The search replaces a failed trial by another one; retraining does not.
        counts, retraining = self._current, self._phase == "retrain"
        jobs = counts.wanted - counts.done - (counts.failed if retraining else 0)
        running = [(now - r.since, r.job.branch_of is not None) for r in self._running.values()]
        return self._pace.seconds_left(jobs, running, self.concurrency, branching=not retraining)

    @property
    def _current(self) -> Counts:
        """The counts of the current phase."""
        if self._phase == "retrain" and self._retrain is not None:
            return self._retrain
        return self._search
