"""Optuna's study in the run's journal: opened, compared with what it was made for, written.

Contract: one process, the holder of the run's lock, and one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from search.journal import open_journal


class StudyMismatch(ValueError):  # noqa: N818, named by its cause
    """The run's study was made under other conditions.

    Attributes:
        problems: one line per field, with its value then and now.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class StoredStudy:
    """Trials and attributes of one Optuna study.

    Args:
        path: of the journal; created when absent. None keeps the study in memory.
        name: of the study when it is created.
        identity: what must not change over its life, field to value.

    Raises:
        StudyMismatch: when the stored study has another identity or direction.
    """

    def __init__(self, path: Path | None, name: str, identity: Mapping[str, str]) -> None:
        self._storage: BaseStorage = InMemoryStorage() if path is None else open_journal(path)
        names = optuna.get_all_study_names(self._storage)
        if names:
            # Not create_study(load_if_exists=True): that writes, and takes another name or
            # direction without a word.
            self.optuna = optuna.load_study(study_name=names[0], storage=self._storage)
        else:
            self.optuna = optuna.create_study(
                storage=self._storage, study_name=name, direction="maximize"
            )
        if self.optuna.direction != optuna.study.StudyDirection.MAXIMIZE:
            raise StudyMismatch([f"{path}: holds a study of another direction, not a search"])
        self._check({"name": name, **identity})

    def _check(self, identity: Mapping[str, str]) -> None:
        stored = self.attribute("identity")
        if stored is None:
            self.note("identity", dict(identity))
            return
        problems = [
            f"{key}: this run was made with {stored.get(key, 'nothing')}, now it is "
            f"{identity.get(key, 'nothing')}; take another --run for it"
            for key in {**stored, **identity}
            if stored.get(key) != identity.get(key)
        ]
        if problems:
            raise StudyMismatch(problems)

    def attribute(self, key: str) -> Any:
        """An attribute of the study; None where it has none."""
        return self.optuna.user_attrs.get(key)

    def note(self, key: str, value: object) -> None:
        """Write an attribute of the study."""
        self.optuna.set_user_attr(key, value)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials, or those in one of the states, by number."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    def trial(self, number: int) -> FrozenTrial:
        """One trial as it is now."""
        return self._storage.get_trial(self._id(number))

    def get(self, number: int, key: str, default: Any = None) -> Any:
        """An attribute of a trial."""
        return self.trial(number).user_attrs.get(key, default)

    def open_trial(self, number: int, sampler: BaseSampler) -> optuna.Trial:
        """One trial, to be given the values that it lacks."""
        self.optuna.sampler = sampler
        return optuna.Trial(self.optuna, self._id(number))

    def ask(self, sampler: BaseSampler) -> optuna.Trial:
        """A waiting trial, or a new one whose values the sampler draws when they are asked for."""
        self.optuna.sampler = sampler
        return self.optuna.ask()

    def enqueue(self, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Add a waiting trial."""
        self.optuna.enqueue_trial(dict(values), user_attrs=dict(attributes))

    def set(self, number: int, key: str, value: object) -> None:
        """Write an attribute of a trial that is not ended."""
        self._storage.set_trial_user_attr(self._id(number), key, value)

    def report(self, number: int, step: int, value: float) -> None:
        """Write an intermediate value."""
        self._storage.set_trial_intermediate_value(self._id(number), step, value)

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """End a trial; Optuna refuses attributes afterwards."""
        self.optuna.tell(number, value, state=state)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)
