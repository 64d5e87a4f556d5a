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
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from model.hyperparameters import Value
from search.jobs import Job
from search.journal import open_journal
from search.samplers import make_sampler
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
class FailurePolicy:
    """When failed trials end the search.

    Attributes:
        max_share: of failed trials among the ended ones, in 0..1; above it the search ends.
        min_ended: ended trials below which the share is not looked at.
    """

    max_share: float = 0.5
    min_ended: int = 5


@dataclass(frozen=True)
class Settings:
    """How a study asks.

    Attributes:
        name: of the study in the journal.
        sampler: a name in `search.samplers.SAMPLERS`.
        seed: of the study; every trial's seeds and the sampler's derive from it.
        trials: how many complete or pruned trials are wanted.
        points: known-good configurations, tried after the reference.
        failures: when to give up.
    """

    name: str
    sampler: str = "tpe"
    seed: int = 0
    trials: int = 20
    points: tuple[Mapping[str, Value], ...] = ()
    failures: FailurePolicy = field(default_factory=FailurePolicy)


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study knows it.

    Attributes:
        number: counted from 0.
        state: waiting, running, complete, pruned or fail.
        role: "reference", "point" or "sampled".
        value: `test2_accuracy` on the selection part; None unless complete.
        configuration: full and canonical; empty while waiting.
        result: of the protocol; None unless complete.
        reason: why it failed; empty otherwise.
        seconds: from ask to end by the driver's clock; None while open.
    """

    number: int
    state: str
    role: str
    value: float | None
    configuration: Mapping[str, Value]
    result: Mapping[str, Any] | None
    reason: str
    seconds: float | None


class Study:
    """A `search.jobs.JobSource` over one Optuna study.

    Args:
        path: of the journal; created when absent.
        space: the search space.
        settings: how to ask.
        identity: what must not change over the study's life, field to value; compared with the
            stored one.

    Raises:
        StudyMismatch: when the stored study has another identity.
    """

    def __init__(
        self, path: Path, space: Space, settings: Settings, identity: Mapping[str, str]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.settings = space, settings
        self._storage: JournalStorage = open_journal(path)
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
        """Whether the asked number is reached, or the policy gives up, and nothing is open."""
        return not self._open and not self._orphans and (self.missing == 0 or self.gave_up)

    @property
    def missing(self) -> int:
        """Complete or pruned trials still wanted."""
        return max(0, self.settings.trials - len(self._trials(*_DONE)))

    @property
    def gave_up(self) -> bool:
        """Whether the failure policy ends the search."""
        failed, done = len(self._trials(TrialState.FAIL)), len(self._trials(*_DONE))
        policy = self.settings.failures
        return failed + done >= policy.min_ended and failed > policy.max_share * (failed + done)

    def ask(self) -> Job | None:
        """A trial that lost its worker, else a new one, else None while open ones may suffice."""
        if self._orphans:
            number = self._orphans.popleft()
        elif self.gave_up or len(self._open) >= self.missing:
            return None
        else:
            number = self._ask_new()
        configuration = self._configure(number)
        self._open.add(number)
        return Job("search", number, 0, configuration)

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
        return [_record(t) for t in self._trials()]

    def best(self, count: int = 1) -> list[TrialRecord]:
        """The best complete trials of distinct configurations, best first, ties by number."""
        complete = [t for t in self.trials() if t.value is not None and t.state == "complete"]
        complete.sort(key=lambda t: (-(t.value or 0.0), t.number))
        distinct: dict[tuple[tuple[str, Value], ...], TrialRecord] = {}
        for trial in complete:
            distinct.setdefault(tuple(sorted(trial.configuration.items())), trial)
        return list(distinct.values())[:count]

    # ---- Optuna

    def _ask_new(self) -> int:
        number = len(self._trials()) - len(self._trials(TrialState.WAITING))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = make_sampler(self.settings.sampler, self.settings.seed, number)
            return self._study.ask(self.space.distributions).number

    def _configure(self, number: int) -> dict[str, Value]:
        """The trial's configuration; what a crash inside `ask` left out is drawn now."""
        stored = self._frozen(number)
        known: dict[str, Value] | None = stored.user_attrs.get("configuration")
        if known is not None and len(stored.params) == len(self.space.distributions):
            return dict(known)
        self._study.sampler = make_sampler(self.settings.sampler, self.settings.seed, number)
        trial = optuna.Trial(self._study, self._trial_id(number))
        if known is not None:  # the reference or a point: samplers learn from its parameters too
            self.space.suggest(trial)
            return dict(known)
        self._draw_again(trial)
        configuration = self.space.suggest(trial)
        self._set(number, "configuration", configuration)
        return configuration

    def _draw_again(self, trial: optuna.Trial) -> None:
        """After a crash inside `ask`, bring the sampler to where it stood.

        Independent draws come from one stream, so the next depends on how many came before.
        """
        stored = self._frozen(trial.number)
        if len(stored.params) == len(self.space.distributions):
            return
        for name in stored.params:
            distribution = self.space.distributions[name]
            if not distribution.single() and name not in trial.relative_params:
                self._study.sampler.sample_independent(self._study, stored, name, distribution)

    def _close(self, number: int, state: TrialState, value: float | None) -> None:
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


def stored_trials(path: Path) -> list[TrialRecord]:
    """All trials of the study in a journal that exists, by number; the caller holds the lock."""
    storage = open_journal(path)
    study = optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)
    return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes = trial.user_attrs
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    return TrialRecord(
        trial.number,
        trial.state.name.lower(),
        attributes.get("role", "sampled"),
        trial.value if trial.state == TrialState.COMPLETE else None,
        attributes.get("configuration", {}),
        attributes.get("result"),
        attributes.get("reason", ""),
        seconds,
    )
