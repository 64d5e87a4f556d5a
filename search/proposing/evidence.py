"""The trials that a sampler's model learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from shiftsearch.search.study.records import is_refused

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of trials that have a value, and do not change any more."""


def others_of(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """All trials of the study but this one."""
    return [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]


def usable(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials with values of hyperparameters that did not fail."""
    return [t for t in trials if t.state in (*ENDED, TrialState.RUNNING) and t.params]


def best_of_baselines(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The best fine-tune of each baseline: complete before stopped before running."""
    rank = {TrialState.COMPLETE: 2, TrialState.PRUNED: 1, TrialState.RUNNING: 0}

    def key(trial: FrozenTrial) -> tuple[int, float]:
        return rank[trial.state], -math.inf if trial.value is None else trial.value

    best: dict[int, FrozenTrial] = {}
    for trial in usable(trials):
        root = trial.user_attrs.get("branch_of", trial.number)
        best[root] = max(best.get(root, trial), trial, key=key)
    return list(best.values())


def trained(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that ended complete or stopped, without those refused for a constraint."""
    return [t for t in trials if t.state in ENDED and not is_refused(t)]


def restricted(
    trial: FrozenTrial, space: Mapping[str, BaseDistribution], costs: Sequence[str] = ()
) -> FrozenTrial:
    """A copy of the trial that has only the hyperparameters in `space`.

    Args:
        trial: any trial; with `costs` it has no intermediate values.
        space: the hyperparameters to keep.
        costs: costs of the trial's network whose logarithms are further values of the copy.
            Networks differ by factors; without logarithms only the largest would seem costly.
    """
    values = None if trial.value is None else [trial.value]
    if values is not None:
        values += [math.log(trial.user_attrs["costs"][name]) for name in costs]
    return create_trial(
        state=trial.state,
        values=values,
        params={k: trial.params[k] for k in space if k in trial.params},
        distributions={k: d for k, d in space.items() if k in trial.params},
        intermediate_values=trial.intermediate_values,
        constraints=trial.constraints,
    )
