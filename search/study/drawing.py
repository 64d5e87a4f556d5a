"""Draws the configurations of new trials, and what a crash left undrawn of others."""

from __future__ import annotations

import warnings

import optuna

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.proposing.tried import Tried
from shiftsearch.search.study.records import stage_values
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.stored_study import StoredStudy
from shiftsearch.search.study.tallies import Families


class Drawing:
    """Begins trials of a study and gives them configurations.

    Args:
        stored: the study.
        space: the search space.
        settings: the study's settings, for the sampler.
        policy: says which baseline a new trial fine-tunes.
        families: the study's baselines and their trials, kept up to date.
    """

    def __init__(
        self,
        stored: StoredStudy,
        space: Space,
        settings: Settings,
        policy: Policy,
        families: Families,
    ) -> None:
        self._stored, self._space, self._settings = stored, space, settings
        self._policy, self._families = policy, families
        self._tried = Tried(space.distributions)
        for record in stored.records:
            if record.configuration:  # otherwise it is drawn and added when it is handed out
                self._tried.add(stored.trial(record.number).params)

    def new(self) -> int:
        """Begin the next trial, and draw its configuration; returns its number."""
        root = self._policy.branch_of(self._families)
        with self._stored.together():
            number = self._stored.ask()
            self._configure(number, root)
        return number

    def configuration(self, number: int) -> dict[str, Value]:
        """The trial's configuration; values missing after a crash in `new` are drawn now."""
        is_drawn = self._space.is_drawn(self._stored.trial(number).params)
        if not self._stored.records[number].configuration or not is_drawn:
            # With the trials before this one, as `new` would have drawn it.
            root = self._policy.branch_of(Families(self._stored.records[:number]))
            self._configure(number, root)
        return dict(self._stored.records[number].configuration)

    def _configure(self, number: int, root: int | None) -> None:
        """Draw the trial's missing values; store the configuration if it has none."""
        given = {} if root is None else stage_values(self._stored.trial(root).params, "baseline")
        sampler = self._settings.stage_sampler(number, self._space, given, self._tried)
        trial = self._stored.open_trial(number, sampler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            drawn = self._space.suggest(trial)
        self._stored.refresh(number)
        self._tried.add(self._stored.trial(number).params)
        if not self._stored.records[number].configuration:
            if root is not None:  # the reference's baseline may lie outside the space
                root_values = self._stored.records[root].configuration
                drawn = self._space.branch(drawn, stage_values(root_values, "baseline"))
            self._stored.set(number, "configuration", drawn)
