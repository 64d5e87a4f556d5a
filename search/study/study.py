"""The study: ask, finish, fail, give back. A wrapper of Optuna's study that does not use Ray.

Optuna's study in the journal is the only record of the trials. The reference configuration is
trial 0, known-good points come next, then the sampler is asked. A trial that is RUNNING when the
study is opened has lost its worker. It is handed out again under its own number. To fail it and
ask for a new one would leave a dead trial and two copies of the reference. Values that are not
finite are never written. Contract: one thread of one process, which holds the run's lock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.trial import TrialState

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place, Stays
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.drawing import Drawing
from shiftsearch.search.study.ending import Ending
from shiftsearch.search.study.failures import flaw
from shiftsearch.search.study.formats import Formats
from shiftsearch.search.study.gate import CostMeter, Gate
from shiftsearch.search.study.needed import Needed
from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.stored_study import StoredStudy
from shiftsearch.search.study.tallies import Baselines, Configurations, Families, Intermediates

MAX_LOSSES = 3
"""How often a trial is handed out again after its worker was lost; then it fails."""


class Study:
    """A `search.executing.jobs.JobSource` over one Optuna study.

    Args:
        path: the journal; created if absent. None keeps the study in memory.
        space: the search space.
        settings: the study's settings.
        identity: what must never change for this study, value by field.
        clock: returns the time in seconds, for the time budget.
        meter: finds the costs of configurations; None: costs are unknown, and nothing is refused.

    Attributes:
        ending: decides when the study asks for no more trials.
        gate: notes what trials cost, and refuses those that break a bound.
        formats: the dtypes in which its trials were computed.

    Raises:
        StudyMismatch: the stored study has another identity.
        StudyDamaged: the journal cannot be read.
    """

    def __init__(
        self,
        path: Path | None,
        space: Space,
        settings: Settings,
        identity: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        meter: CostMeter | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.settings = space, settings
        self._value = settings.objective.column
        most = min(settings.policy.branches, space.fine_tunes())
        self._policy = settings.policy.model_copy(update={"branches": int(most)})
        self._stored = StoredStudy(path, settings.name, identity, settings.objective)
        self.gate = Gate(self._stored, settings.limits, meter)
        self.ending = Ending(self._stored, settings, clock)
        self.formats = Formats(self._stored)
        self._known, self._baselines = Configurations(), Baselines()
        self._families, self._intermediate = Families(), Intermediates()
        for tally in (self._known, self._baselines, self._families, self._intermediate):
            self._stored.follow(tally)
        self._drawing = Drawing(self._stored, space, settings, self._policy, self._families)
        self._stays = Stays(clock)
        self._enqueue_known()
        self._open: set[int] = set()
        self._orphans = deque(t.number for t in self.trials() if t.state == "running")

    def _enqueue_known(self) -> None:
        present = [dict(t.configuration) for t in self.trials() if t.role != "sampled"]
        points = [("point", point) for point in self.settings.points]
        for role, given in [("reference", self.space.reference), *points]:
            # Not skip_if_exists, which compares only the searched values.
            if (configuration := dict(given)) not in present:
                present.append(configuration)
                self._enqueue(role, configuration)

    # ---- JobSource

    @property
    def finished(self) -> bool:
        """Whether no trial is open and no more will be asked for."""
        return not self._open and not self._orphans and self.ending.over

    @property
    def missing(self) -> int:
        """Number of complete or pruned trials still to reach."""
        return self.ending.missing

    @property
    def refused(self) -> int:
        """Number of trials that broke a constraint and were not trained."""
        return self._stored.count("refused")

    @property
    def gave_up(self) -> bool:
        """Whether failures or refusals end the search without a result."""
        return self.ending.gave_up or self.ending.hopeless

    @property
    def stop_reason(self) -> str:
        """Why the search stops before all trials are done; empty if it does not."""
        return self.ending.reason

    def ask(self) -> Job | None:
        """A trial that lost its worker or had to wait, else a new trial, else None.

        A trial waits while another one trains its baseline, so that no baseline is trained twice.
        """
        self.ending.begin()
        if self.ending.probing and self._open:
            return None
        for _ in range(len(self._orphans)):
            number = self._orphans.popleft()
            job = self._hand_out(number)
            if job is not None:
                return job
        while self._wants_more():
            job = self._hand_out(self._drawing.new())
            if job is not None:
                return job
        return None

    def _wants_more(self) -> bool:
        """Whether to ask; not while many trials wait, as a later choice knows more results."""
        if len(self._open) + len(self._orphans) >= self.missing or self.ending.over:
            return False
        waiting = sum(self.trial(n).role == "sampled" for n in self._orphans)
        return waiting <= len(self._open)

    def _hand_out(self, number: int) -> Job | None:
        """The trial as a job, or None if it is refused or has to wait for its baseline."""
        configuration = self._drawing.configuration(number)
        if self.gate.refuses(number):
            self._close(number, TrialState.PRUNED, None)
            return None
        root = self._baselines.root(configuration, number, self._open)
        if root is not None and not self.trial(root).has_baseline:
            self._orphans.append(number)
            return None
        if root is not None and self.trial(number).branch_of != root:
            self._stored.set(number, "branch_of", root)
        self._open.add(number)
        return Job(
            "search",
            number,
            0,
            configuration,
            report_at=self._policy.report_at if root is None else {},
            role=self.trial(number).role,
            branch_of=root,
        )

    def placed(self, job: Job, place: Place) -> None:
        """Keep where a worker began; it is recorded when the trial ends."""
        self._stays.begin(job.name, place)

    def share(self, job: Job) -> None:
        """Record that the trial's baseline is trained to the end."""
        self._stored.set(job.number, "baseline", True)

    def report(self, job: Job, epochs: int, value: float) -> bool:
        """Record an intermediate value; returns whether the policy stops the trial.

        Each number of epochs is decided once. A value that is not finite is not recorded, and the
        trial fails.
        """
        if why := flaw(f"{self._value} at {epochs} epochs", value):
            self.fail(job, why)
            return True
        decided: bool | None = self._stored.get(job.number, f"stopped_at_{epochs}")
        if decided is None:
            self._stored.report(job.number, epochs, value)
            decided = self._policy.stops(self.trial(job.number), epochs, self._intermediate)
            self._stored.set(job.number, f"stopped_at_{epochs}", decided)
        if decided:
            self._stored.set(job.number, "reason", self._policy.reason(epochs, value))
            self._close(job.number, TrialState.PRUNED, None)
        return decided

    def finish(self, job: Job, result: ProtocolResult) -> None:
        """End the trial as COMPLETE, or as FAIL if a number in the result is not finite."""
        value, written = self.settings.objective.of(result), result.to_json()
        if why := flaw(self._value, value, written):
            self.fail(job, why)
            return
        # Before telling: Optuna refuses attributes on an ended trial.
        with self._stored.together():
            self._stored.set(job.number, "result", written)
            self._stored.show_stages(job.number, result)
            self._close(job.number, TrialState.COMPLETE, value)

    def fail(self, job: Job, reason: str) -> None:
        """End the trial as FAIL and record the reason."""
        self._stored.set(job.number, "reason", reason)
        self._close(job.number, TrialState.FAIL, None)

    def give_back(self, job: Job, reason: str) -> bool:
        """Hand the trial out again later, at most `MAX_LOSSES` times; then it fails."""
        self._stays.end(job.name)
        losses = self._stored.get(job.number, "losses", 0) + 1
        if losses > MAX_LOSSES:
            self._stored.set(job.number, "lost", True)
            self.fail(job, f"lost its worker {losses} times; last: {reason}")
            return False
        self._stored.set(job.number, "losses", losses)
        self._open.discard(job.number)
        self._orphans.append(job.number)
        return True

    # ---- steering

    def enqueue(self, configuration: Mapping[str, Value]) -> int:
        """Have a configuration tried next, after those that wait; returns its trial's number.

        Raises:
            ValueError: no more trials will be asked for, a trial has this configuration, or it
                breaks a constraint.
        """
        known = self._known.first(configuration)
        if known is not None:
            raise ValueError(f"trial {known} has this configuration ({self.trial(known).state})")
        if broken := self.gate.broken(configuration):
            raise ValueError(f"the configuration {'; '.join(broken)}")
        self.ending.refuse_beyond(self._asked)
        return self._enqueue("point", configuration)

    def retry(self, numbers: Sequence[int]) -> list[int]:
        """Try failed trials again, as new trials, which are the next; returns their numbers.

        If fewer are missing, more are wanted. Call it before any trial is asked for.
        """
        trials = [self.trial(number) for number in numbers]
        new = [self._enqueue(t.role, t.configuration, retry_of=t.number) for t in trials]
        if (surplus := self._asked - self.missing) > 0:
            self.ending.extend(self.ending.wanted + surplus)
        self.ending.look_back()
        return new

    @property
    def _asked(self) -> int:
        """Number of trials that are open, or will be before any new one."""
        return len(self._open) + len(self._orphans) + self._stored.count("waiting")

    def _enqueue(self, role: str, values: Mapping[str, Value], **more: int) -> int:
        attributes = {"role": role, "configuration": dict(values), **more}
        return self._stored.enqueue(self.space.nearest_inside(values), attributes)

    def trials(self) -> list[TrialRecord]:
        """All trials by number."""
        return list(self._stored.records)

    def trial(self, number: int) -> TrialRecord:
        """One trial."""
        return self._stored.records[number]

    def needed(self, count: int) -> Needed:
        """Follows whose weights are needed if the `count` best trials are kept."""
        found = Needed(count, lambda: self._policy.may_branch_from(self._families))
        self._stored.follow(found)
        return found

    def _close(self, number: int, state: TrialState, value: float | None) -> None:
        self.ending.note_seconds()
        if (stay := self._stays.end(Job("search", number, 0, {}).name)) is not None:
            self._stored.set(number, "place", asdict(stay))
        self._stored.tell(number, state, value)
        self._open.discard(number)
