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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from model.hyperparameters import Value
from search.budget import Budget, FailurePolicy
from search.jobs import Job
from search.journal import open_journal
from search.outlook import converged
from search.policy import Policy
from search.records import TrialRecord, best_trials, record_of, stage_values
from search.samplers import START_UP, StageSampler
from search.space import REFERENCE, Space

MAX_LOSSES = 3
"""How often a trial is handed out again after its worker was lost; then it fails."""

_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


class StudyMismatch(ValueError):  # noqa: N818, named by its cause
    """The run's study was made under other conditions.

    Attributes:
        problems: one line per field, with its value then and now.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class TooManyFailures(RuntimeError):  # noqa: N818, named by its cause
    """The share of failed trials is above the policy's limit."""


@dataclass(frozen=True)
class Settings:
    """How a study asks.

    Attributes:
        name: of the study in the journal.
        sampler: a name that `search.samplers.StageSampler` knows.
        seed: of the study; every trial's seeds and the sampler's derive from it.
        budget: when to stop asking.
        points: known-good configurations, tried after the reference.
        failures: when to give up.
        policy: shared baselines and rungs.
        start_up: trials that end before the sampler's model is asked.
    """

    name: str
    sampler: str = "tpe"
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    points: tuple[Mapping[str, Value], ...] = ()
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    policy: Policy = field(default_factory=Policy)
    start_up: int = START_UP


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
        noise: standard deviation of the objective between seeds; once it is set, the study
            stops asking when it has converged.

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
        self.space, self.settings, self._clock = space, settings, clock
        most = min(settings.policy.branches, space.fine_tunes())
        self._policy = replace(settings.policy, branches=int(most))
        self._storage: BaseStorage = InMemoryStorage() if path is None else open_journal(path)
        identity = {"name": settings.name, **identity}
        names = optuna.get_all_study_names(self._storage)
        if names:
            # Not create_study(load_if_exists=True): that writes, and takes another name or
            # direction without a word.
            self._study = optuna.load_study(study_name=names[0], storage=self._storage)
        else:
            self._study = optuna.create_study(
                storage=self._storage, study_name=settings.name, direction="maximize"
            )
        if self._study.direction != optuna.study.StudyDirection.MAXIMIZE:
            raise StudyMismatch([f"{path}: holds a study of another direction, not a search"])
        self._check_identity(identity)
        self._enqueue_known()
        self._open: set[int] = set()
        self._orphans = deque(t.number for t in self._trials(TrialState.RUNNING))
        self._seconds_before = float(self._study.user_attrs.get("seconds", 0.0))
        self._begun: float | None = None
        self._judged: tuple[int, float, str] = 0, 0.0, ""
        self.noise: float | None = None

    def _check_identity(self, identity: Mapping[str, str]) -> None:
        stored = self._study.user_attrs.get("identity")
        if stored is None:
            self._study.set_user_attr("identity", dict(identity))
            return
        problems = [
            f"{key}: this run was made with {stored.get(key, 'nothing')}, now it is "
            f"{identity.get(key, 'nothing')}; take another --run for it"
            for key in {**stored, **identity}
            if stored.get(key) != identity.get(key)
        ]
        if problems:
            raise StudyMismatch(problems)

    def _enqueue_known(self) -> None:
        attributes = [t.user_attrs for t in self._trials()]
        present = [a.get("configuration") for a in attributes if "role" in a]
        known = [("reference", dict(REFERENCE))]
        known += [("point", dict(point)) for point in self.settings.points]
        for role, configuration in known:
            # Not skip_if_exists, which looks at searched values only.
            if configuration not in present:
                present.append(configuration)
                self._study.enqueue_trial(
                    self.space.nearest_inside(configuration),
                    user_attrs={"role": role, "configuration": configuration},
                )

    # ---- JobSource

    @property
    def finished(self) -> bool:
        """Whether nothing is open and nothing will be asked."""
        return not self._open and not self._orphans and self._asks_no_more

    @property
    def missing(self) -> int:
        """Complete or pruned trials still wanted."""
        return max(0, self.settings.budget.trials - len(self._trials(*_DONE)))

    @property
    def gave_up(self) -> bool:
        """Whether the failure policy ends the search."""
        failed, done = len(self._trials(TrialState.FAIL)), len(self._trials(*_DONE))
        policy = self.settings.failures
        return failed + done >= policy.min_ended and failed > policy.max_share * (failed + done)

    @property
    def seconds(self) -> float:
        """Of asking and training so far, by the driver's clock, over all calls."""
        now = 0.0 if self._begun is None else self._clock() - self._begun
        return self._seconds_before + now

    @property
    def stop_reason(self) -> str:
        """Why no more is asked before the wanted number is reached; empty while it is not so."""
        if self.missing == 0:
            return ""
        if self.gave_up:
            return "too many trials failed"
        if self.settings.budget.spent(self.seconds, self.trials()):
            return "the budget is spent"
        return self._converged()

    def _converged(self) -> str:
        """In words, when more trials gain less than the noise; asked once per ended trial."""
        if self.noise is None:
            return ""
        done = len(self._trials(*_DONE))
        if self._judged[:2] != (done, self.noise):
            found = converged(self._study, self.noise)
            self._judged = (
                done,
                self.noise,
                (
                    f"more trials are expected to gain at most {found.improvement:.4f}, less than "
                    f"the noise between seeds, {found.error:.4f}"
                    if found.stop
                    else ""
                ),
            )
        return self._judged[2]

    @property
    def _asks_no_more(self) -> bool:
        return self.missing == 0 or bool(self.stop_reason)

    def ask(self) -> Job | None:
        """A trial that lost its worker or waited, else a new one, else None while some are open.

        A trial whose baseline is being trained by another waits for it: nothing is paid twice.
        """
        self._begun = self._clock() if self._begun is None else self._begun
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
        if len(self._open) + len(self._orphans) >= self.missing or self._asks_no_more:
            return False
        waiting = sum("role" not in self._frozen(n).user_attrs for n in self._orphans)
        return waiting <= len(self._open)

    def _hand_out(self, number: int) -> Job | None:
        """The trial as a job, or None when it has to wait for its baseline."""
        configuration = self._configuration(number)
        root = self._root_of(number, configuration)
        if root is not None and not root.has_baseline:
            self._orphans.append(number)
            return None
        if root is not None and self._frozen(number).user_attrs.get("branch_of") != root.number:
            self._set(number, "branch_of", root.number)
        self._open.add(number)
        return Job(
            "search",
            number,
            0,
            configuration,
            rungs=self._policy.rungs if root is None else (),
            role=self._frozen(number).user_attrs.get("role", "sampled"),
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
        self._set(job.number, "baseline", True)

    def reach(self, job: Job, epochs: int, value: float) -> bool:
        """Record a rung's value and let the policy decide; the same rung gets the same answer.

        A value that is not finite is not recorded: the trial fails.
        """
        if not math.isfinite(value):
            self.fail(job, f"test2_accuracy at {epochs} epochs is {value}, but must be finite")
            return True
        decided: bool | None = self._frozen(job.number).user_attrs.get(f"stopped_at_{epochs}")
        if decided is None:
            trial_id = self._trial_id(job.number)
            self._storage.set_trial_intermediate_value(trial_id, epochs, value)
            trials = self.trials()
            decided = self._policy.stops(trials[job.number], epochs, trials)
            self._set(job.number, f"stopped_at_{epochs}", decided)
        if decided:
            self._set(job.number, "reason", f"stopped at the rung of {epochs} epochs: {value:.4f}")
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
        self._set(job.number, "result", dict(result))
        self._close(job.number, TrialState.COMPLETE, value)

    def fail(self, job: Job, reason: str) -> None:
        """FAIL, with the reason beside it."""
        self._set(job.number, "reason", reason)
        self._close(job.number, TrialState.FAIL, None)

    def give_back(self, job: Job, reason: str) -> None:
        """Hand the trial out again, at most `MAX_LOSSES` times."""
        losses = self._frozen(job.number).user_attrs.get("losses", 0) + 1
        if losses > MAX_LOSSES:
            self.fail(job, f"lost its worker {losses} times; last: {reason}")
            return
        self._set(job.number, "losses", losses)
        self._open.discard(job.number)
        self._orphans.append(job.number)

    # ---- views

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [record_of(t) for t in self._trials()]

    def best(self, count: int = 1) -> list[TrialRecord]:
        """The best complete trials of distinct configurations, best first, ties by number."""
        return best_trials(self.trials(), count)

    # ---- Optuna

    def _ask_new(self) -> int:
        number = len(self._trials()) - len(self._trials(TrialState.WAITING))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            root = self._branching_from(number)
            self._study.sampler = self._sampler(number, root)
            self._configure(self._study.ask(self.space.distributions), root)
        return number

    def _branching_from(self, number: int) -> TrialRecord | None:
        """The trial whose baseline `number` takes up; decided by earlier trials alone."""
        earlier = [t for t in self.trials() if t.number < number]
        root = self._policy.branch_of(earlier)
        return None if root is None else earlier[root]

    def _sampler(self, number: int, root: TrialRecord | None) -> StageSampler:
        given = {} if root is None else stage_values(self._frozen(root.number).params, "baseline")
        space, seed, start_up = (
            self.space.distributions,
            self.settings.seed,
            self.settings.start_up,
        )
        return StageSampler(self.settings.sampler, seed, number, space, given, start_up)

    def _configure(self, trial: optuna.Trial, root: TrialRecord | None) -> None:
        """Store the configuration, unless it is a known one."""
        drawn = self.space.suggest(trial)
        if "configuration" not in trial.user_attrs:
            if root is not None:  # the reference's own baseline, even where the space lacks it
                drawn |= stage_values(root.configuration, "baseline")
            self._set(trial.number, "configuration", drawn)

    def _configuration(self, number: int) -> dict[str, Value]:
        """The trial's configuration; what a crash inside `ask` left out is drawn now."""
        stored = self._frozen(number)
        if "configuration" not in stored.user_attrs or len(stored.params) < len(
            self.space.distributions
        ):
            root = self._branching_from(number)
            self._study.sampler = self._sampler(number, root)
            self._configure(optuna.Trial(self._study, self._trial_id(number)), root)
            stored = self._frozen(number)
        return dict(stored.user_attrs["configuration"])

    def _close(self, number: int, state: TrialState, value: float | None) -> None:
        self._study.set_user_attr("seconds", self.seconds)
        self._study.tell(number, value, state=state)
        self._open.discard(number)

    def _set(self, number: int, key: str, value: object) -> None:
        self._storage.set_trial_user_attr(self._trial_id(number), key, value)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)
