"""The study: ask, finish, fail, give back. One object around Optuna, no Ray in it.

Optuna's study in the journal is the one truth about trials; this object adds what Optuna leaves
to its users. The reference configuration is trial 0, known-good points come next, then the
sampler is asked. A trial found RUNNING when the study is opened has lost its worker: it is handed
out again under its own number, never failed and asked anew (which would leave a dead trial and
two copies of the reference). Nothing non-finite is written. Contract: one process, the holder of
the run's lock, and one thread.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from model.hyperparameters import Value
from search.ending import Ending
from search.jobs import Job
from search.records import TrialRecord, record_of, stage_values
from search.samplers import StageSampler
from search.settings import Settings
from search.space import REFERENCE, Space
from search.stored_study import StoredStudy

MAX_LOSSES = 3
"""How often a trial is handed out again after its worker was lost; then it fails."""


class Study:
    """A `search.jobs.JobSource` over one Optuna study.

    Args:
        path: of the journal; created when absent. None keeps the study in memory.
        space: the search space.
        settings: how to ask.
        identity: what must not change over the study's life, field to value; compared with the
            stored one.
        clock: in seconds; for the time budget.

    Attributes:
        ending: when no more is asked for.

    Raises:
        StudyMismatch: when the stored study has another identity.
    """

    def __init__(
        self,
        path: Path | None,
        space: Space,
        settings: Settings,
        identity: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.settings = space, settings
        most = min(settings.policy.branches, space.fine_tunes())
        self._policy = replace(settings.policy, branches=int(most))
        self._stored = StoredStudy(path, settings.name, identity)
        self.ending = Ending(self._stored, settings.budget, settings.failures, clock)
        self._enqueue_known()
        self._open: set[int] = set()
        self._orphans = deque(t.number for t in self._stored.trials(TrialState.RUNNING))

    def _enqueue_known(self) -> None:
        attributes = [t.user_attrs for t in self._stored.trials()]
        present = [a.get("configuration") for a in attributes if "role" in a]
        known = [("reference", dict(REFERENCE))]
        known += [("point", dict(point)) for point in self.settings.points]
        for role, configuration in known:
            # Not skip_if_exists, which looks at searched values only.
            if configuration not in present:
                present.append(configuration)
                self._enqueue(role, configuration)

    # ---- JobSource

    @property
    def finished(self) -> bool:
        """Whether nothing is open and nothing will be asked."""
        return not self._open and not self._orphans and self.ending.over

    @property
    def missing(self) -> int:
        """Complete or pruned trials still wanted."""
        return self.ending.missing

    @property
    def gave_up(self) -> bool:
        """Whether the failure policy ends the search."""
        return self.ending.gave_up

    @property
    def stop_reason(self) -> str:
        """Why no more is asked before the wanted number is reached; empty while it is not so."""
        return self.ending.reason

    def ask(self) -> Job | None:
        """A trial that lost its worker or waited, else a new one, else None while some are open.

        A trial whose baseline is being trained by another waits for it: nothing is paid twice.
        """
        self.ending.begin()
        for _ in range(len(self._orphans)):
            number = self._orphans.popleft()
            job = self._hand_out(number)
            if job is not None:
                return job
        while self._wants_more():
            job = self._hand_out(self._ask_new())
            if job is not None:
                return job
        return None

    def _wants_more(self) -> bool:
        """Whether to ask; not when many wait, who would know more if they were asked later."""
        if len(self._open) + len(self._orphans) >= self.missing or self.ending.over:
            return False
        waiting = sum(self._stored.get(n, "role") is None for n in self._orphans)
        return waiting <= len(self._open)

    def _hand_out(self, number: int) -> Job | None:
        """The trial as a job, or None when it has to wait for its baseline."""
        configuration = self._configuration(number)
        root = self._root_of(number, configuration)
        if root is not None and not root.has_baseline:
            self._orphans.append(number)
            return None
        if root is not None and self._stored.get(number, "branch_of") != root.number:
            self._stored.set(number, "branch_of", root.number)
        self._open.add(number)
        return Job(
            "search",
            number,
            0,
            configuration,
            rungs=self._policy.rungs if root is None else (),
            role=self._stored.get(number, "role", "sampled"),
            branch_of=None if root is None else root.number,
        )

    def _root_of(self, number: int, configuration: Mapping[str, Value]) -> TrialRecord | None:
        """The trial that trained the same baseline, or is about to; None: this one does."""
        wanted = stage_values(configuration, "baseline")
        for trial in self.trials():
            if trial.number == number or trial.branch_of is not None:
                continue
            if stage_values(trial.configuration, "baseline") != wanted:
                continue
            if trial.has_baseline or trial.number in self._open:
                return trial
        return None

    def share(self, job: Job) -> None:
        """Note that the trial's baseline is trained to the end."""
        self._stored.set(job.number, "baseline", True)

    def reach(self, job: Job, epochs: int, value: float) -> bool:
        """Record a rung's value and let the policy decide; the same rung gets the same answer.

        A value that is not finite is not recorded: the trial fails.
        """
        if not math.isfinite(value):
            self.fail(job, f"test2_accuracy at {epochs} epochs is {value}, but must be finite")
            return True
        decided: bool | None = self._stored.get(job.number, f"stopped_at_{epochs}")
        if decided is None:
            self._stored.report(job.number, epochs, value)
            trials = self.trials()
            decided = self._policy.stops(trials[job.number], epochs, trials)
            self._stored.set(job.number, f"stopped_at_{epochs}", decided)
        if decided:
            self._stored.set(
                job.number, "reason", f"stopped at the rung of {epochs} epochs: {value:.4f}"
            )
            self._close(job.number, TrialState.PRUNED, None)
        return decided

    def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """COMPLETE with its objective, or FAIL when a number is not finite."""
        value = float(result["test2_accuracy"])
        if not math.isfinite(value):
            self.fail(job, f"test2_accuracy is {value}, but must be finite")
            return
        try:
            json.dumps(result, allow_nan=False)
        except ValueError:
            self.fail(job, "its result holds a value that is not finite")
            return
        # Before telling: Optuna refuses attributes on an ended trial.
        self._stored.set(job.number, "result", dict(result))
        self._close(job.number, TrialState.COMPLETE, value)

    def fail(self, job: Job, reason: str) -> None:
        """FAIL, with the reason beside it."""
        self._stored.set(job.number, "reason", reason)
        self._close(job.number, TrialState.FAIL, None)

    def give_back(self, job: Job, reason: str) -> None:
        """Hand the trial out again, at most `MAX_LOSSES` times."""
        losses = self._stored.get(job.number, "losses", 0) + 1
        if losses > MAX_LOSSES:
            self._stored.set(job.number, "lost", True)
            self.fail(job, f"lost its worker {losses} times; last: {reason}")
            return
        self._stored.set(job.number, "losses", losses)
        self._open.discard(job.number)
        self._orphans.append(job.number)

    # ---- steering

    def enqueue(self, configuration: Mapping[str, Value]) -> int:
        """Have a configuration tried next, after those that wait; the number of its trial.

        Raises:
            ValueError: no further trial will be asked for, or the configuration is known.
        """
        for trial in self.trials():
            if dict(trial.configuration) == dict(configuration):
                raise ValueError(f"trial {trial.number} has this configuration, {trial.state}")
        if self.ending.over:
            raise ValueError(f"no more trials are asked for: {self.stop_reason or 'all are done'}")
        waiting = len(self._stored.trials(TrialState.WAITING))
        if len(self._open) + len(self._orphans) + waiting >= self.missing:
            raise ValueError(
                f"all {self.ending.wanted} trials are asked for; extend the search first"
            )
        self._enqueue("point", configuration)
        return len(self._stored.trials()) - 1

    def _enqueue(self, role: str, configuration: Mapping[str, Value]) -> None:
        attributes = {"role": role, "configuration": dict(configuration)}
        self._stored.enqueue(self.space.nearest_inside(configuration), attributes)

    # ---- views

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [record_of(t) for t in self._stored.trials()]

    # ---- Optuna

    def _ask_new(self) -> int:
        number = len(self._stored.trials()) - len(self._stored.trials(TrialState.WAITING))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            root = self._branching_from(number)
            asked = self._stored.ask(self.space.distributions, self._sampler(number, root))
            self._configure(asked, root)
        return number

    def _branching_from(self, number: int) -> TrialRecord | None:
        """The trial whose baseline `number` takes up; decided by earlier trials alone."""
        earlier = [t for t in self.trials() if t.number < number]
        root = self._policy.branch_of(earlier)
        return None if root is None else earlier[root]

    def _sampler(self, number: int, root: TrialRecord | None) -> StageSampler:
        given = (
            {}
            if root is None
            else stage_values(self._stored.trial(root.number).params, "baseline")
        )
        space, settings = self.space.distributions, self.settings
        return StageSampler(
            settings.sampler, settings.seed, number, space, given, settings.start_up
        )

    def _configure(self, trial: optuna.Trial, root: TrialRecord | None) -> None:
        """Store the configuration, unless it is a known one."""
        drawn = self.space.suggest(trial)
        if "configuration" not in trial.user_attrs:
            if root is not None:  # the reference's own baseline, even where the space lacks it
                drawn |= stage_values(root.configuration, "baseline")
            self._stored.set(trial.number, "configuration", drawn)

    def _configuration(self, number: int) -> dict[str, Value]:
        """The trial's configuration; what a crash inside `ask` left out is drawn now."""
        stored = self._stored.trial(number)
        if "configuration" not in stored.user_attrs or len(stored.params) < len(
            self.space.distributions
        ):
            root = self._branching_from(number)
            self._configure(self._stored.open_trial(number, self._sampler(number, root)), root)
            stored = self._stored.trial(number)
        return dict(stored.user_attrs["configuration"])

    def _close(self, number: int, state: TrialState, value: float | None) -> None:
        self.ending.note_seconds()
        self._stored.tell(number, state, value)
        self._open.discard(number)
