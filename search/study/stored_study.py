"""Optuna's study in the run's journal: opened, checked against its identity, and written.

All trials are read once, when the study is opened, and then one by one as they change. Contract:
only one thread of one process, which holds the run's lock, uses and writes the study.
"""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from shiftsearch.data.problems import ProblemsError
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.journal import open_journal, readable
from shiftsearch.search.study.records import STAGE_STEPS, State, TrialRecord, record_of
from shiftsearch.search.study.tallies import Tally


class StudyMismatch(ProblemsError):  # noqa: N818, named by its cause
    """The run's study has another identity; one line per field, with both values."""


def refuse_other(stored: Mapping[str, str], identity: Mapping[str, str]) -> None:
    """Refuse a study with another identity.

    Args:
        stored: the identity of a study, value by field.
        identity: what it must be.

    Raises:
        StudyMismatch: the two differ.
    """
    problems = [
        f"{key}: this run was made with {stored.get(key, 'nothing')}, now it is "
        f"{identity.get(key, 'nothing')}; use another --run for it"
        for key in {**stored, **identity}
        if stored.get(key) != identity.get(key)
    ]
    if problems:
        raise StudyMismatch(problems)


class StoredStudy:
    """Trials and attributes of one Optuna study.

    Args:
        path: the journal; created if absent. None keeps the study in memory.
        name: the study's name if it is created.
        identity: what must never change for this study, value by field.
        objective: what its trials are ranked by.

    Attributes:
        records: all trials, by number; callers must not change the list.
        together: a context, inside which what is written goes to the disk at the end, as one.

    Raises:
        StudyMismatch: the stored study has another identity or direction.
        StudyDamaged: the journal cannot be read.
    """

    def __init__(
        self,
        path: Path | None,
        name: str,
        identity: Mapping[str, str],
        objective: Objective = ACCURACY,
    ) -> None:
        self._objective = objective
        with readable(path):
            journal = None if path is None else open_journal(path)
            self._storage: BaseStorage = journal or InMemoryStorage()
            self.together = nullcontext if journal is None else journal.together
            names = optuna.get_all_study_names(self._storage)
        if names:
            # Not create_study(load_if_exists=True), which writes, and silently accepts another
            # name or direction.
            self.optuna = optuna.load_study(study_name=names[0], storage=self._storage)
        else:
            self.optuna = optuna.create_study(
                storage=self._storage, study_name=name, direction="maximize"
            )
        if self.optuna.direction != optuna.study.StudyDirection.MAXIMIZE:
            raise StudyMismatch([f"{path}: holds a study of another direction, not a search"])
        self._attributes: dict[str, Any] = self.optuna.user_attrs
        self._check({"name": name, **identity})
        self._name_metric()
        self.records: list[TrialRecord] = []
        self._trials: list[FrozenTrial] = []
        self._states: Counter[State] = Counter()
        self._tallies: list[Tally] = []
        with readable(path):
            for trial in self.optuna.get_trials(deepcopy=False):
                self._take_up(trial, None)
        self._waiting = deque(t.number for t in self.records if t.state == "waiting")

    def _name_metric(self) -> None:
        """Give the objective its name in Optuna's dashboard; earlier versions gave none."""
        if self.optuna.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.optuna.set_metric_names([self._objective.column])

    def _check(self, identity: Mapping[str, str]) -> None:
        stored = self.attribute("identity")
        if stored is None:
            self.note("identity", dict(identity))
            return
        refuse_other(stored, identity)

    def attribute(self, key: str) -> Any:
        """An attribute of the study, or None."""
        return self._attributes.get(key)

    def note(self, key: str, value: object) -> None:
        """Write an attribute of the study."""
        self.optuna.set_user_attr(key, value)
        self._attributes[key] = value

    # ---- reading

    def follow(self, tally: Tally) -> None:
        """Tell a tally about every trial, and from now on about every change."""
        self._tallies.append(tally)
        for record in self.records:
            tally.add(record)

    def count(self, *states: State) -> int:
        """Number of trials in any of the states."""
        return sum(self._states[state] for state in states)

    def trial(self, number: int) -> FrozenTrial:
        """One trial as an Optuna object."""
        return self._trials[number]

    def get(self, number: int, key: str, default: Any = None) -> Any:
        """An attribute of a trial."""
        return self._trials[number].user_attrs.get(key, default)

    def refresh(self, number: int) -> None:
        """Read a new or changed trial from the storage and tell the tallies."""
        known = number < len(self.records)
        trial_id = (
            self._trials[number]._trial_id
            if known
            else self._storage.get_trial_id_from_study_id_trial_number(
                self.optuna._study_id, number
            )
        )
        self._take_up(self._storage.get_trial(trial_id), self.records[number] if known else None)

    def _take_up(self, trial: FrozenTrial, before: TrialRecord | None) -> None:
        record = record_of(trial, self._objective)
        if before is None:
            self._trials.append(trial)
            self.records.append(record)
        else:
            self._trials[trial.number], self.records[trial.number] = trial, record
            self._states[before.state] -= 1
        self._states[record.state] += 1
        for tally in self._tallies:
            if before is not None:
                tally.remove(before)
            tally.add(record)

    # ---- writing

    def open_trial(self, number: int, sampler: BaseSampler) -> optuna.Trial:
        """A trial that can be given its missing values; call `refresh` afterwards."""
        self.optuna.sampler = sampler
        # As in Optuna's `ask`, which is not used because it searches all trials for a waiting one.
        self.optuna._thread_local.cached_all_trials = None
        return optuna.Trial(self.optuna, self._trials[number]._trial_id)

    def ask(self) -> int:
        """Begin the first waiting trial, or a new one without values; returns its number."""
        if self._waiting:
            number = self._waiting.popleft()
            trial_id = self._trials[number]._trial_id
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        else:
            number = len(self.records)
            self._storage.create_new_trial(self.optuna._study_id)
        self.refresh(number)
        return number

    def enqueue(self, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> int:
        """Add a waiting trial; returns its number."""
        number = len(self.records)
        self.optuna.enqueue_trial(dict(values), user_attrs=dict(attributes))
        self._waiting.append(number)
        self.refresh(number)
        return number

    def set(self, number: int, key: str, value: object) -> None:
        """Write an attribute of an open trial."""
        self._storage.set_trial_user_attr(self._trials[number]._trial_id, key, value)
        self.refresh(number)

    def constrain(self, number: int, excess: Mapping[str, float]) -> None:
        """Write by how much an open trial exceeds each bound; those that are written stay."""
        known = self._trials[number].constraints
        trial = self.open_trial(number, RandomSampler())  # which draws nothing here
        for name, value in excess.items():
            if name not in known:
                trial.set_constraint(name, value)
        self.refresh(number)

    def report(self, number: int, step: int, value: float) -> None:
        """Write an intermediate value."""
        trial_id = self._trials[number]._trial_id
        self._storage.set_trial_intermediate_value(trial_id, step, value)
        self.refresh(number)

    def show_stages(self, number: int, result: ProtocolResult) -> None:
        """Write the objective after each stage, by epochs, for Optuna's dashboard alone.

        Call `tell` afterwards, which reads the trial again.
        """
        end = result.baseline.epochs + result.fine_tune.epochs
        stages = {result.baseline.epochs: result.baseline, end: result.fine_tune}
        new = [step for step in stages if step not in self.records[number].intermediate]
        trial_id = self._trials[number]._trial_id
        self._storage.set_trial_user_attr(trial_id, STAGE_STEPS, new)
        for step in new:
            value = self._objective.of_split(stages[step].test2)
            self._storage.set_trial_intermediate_value(trial_id, step, value)

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """End a trial; Optuna refuses attributes afterwards."""
        self.optuna.tell(number, value, state=state)
        self.refresh(number)
