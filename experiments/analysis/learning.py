"""Learning curves of the winner's and the reference's trial, from the run's store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftsearch.model.engine import EpochRow
from shiftsearch.model.report import stored_history
from shiftsearch.model.result import STAGES, ProtocolResult, Stage
from shiftsearch.model.store import Store
from shiftsearch.search.study.records import TrialRecord


@dataclass(frozen=True)
class LearningCurve:
    """One stage of a trial, as the search trained it.

    Attributes:
        rows: one per epoch, see `model.stage.StageResult.history`.
        best_epoch: the epoch whose weights were kept, counted from 1.
    """

    rows: tuple[EpochRow, ...]
    best_epoch: int


Curves = Mapping[str, Mapping[Stage, LearningCurve]]
"""By the trial's title, "winner" or "reference", and stage."""


def learning_curves(store: Store, trials: Sequence[TrialRecord], winner: int) -> Curves:
    """The curves that the store still has; a trial without any is left out.

    Args:
        store: the run's.
        trials: the study's trials.
        winner: number of the winning trial, which may be the reference; then it has this title.
    """
    found = {}
    for trial in trials:
        is_reference = trial.role == "reference"
        if trial.result is not None and (is_reference or trial.number == winner):
            curves = _curves(store, trial.result)
            if curves:
                found["reference" if is_reference else "winner"] = curves
    return found


def _curves(store: Store, result: ProtocolResult) -> dict[Stage, LearningCurve]:
    curves: dict[Stage, LearningCurve] = {}
    for name in STAGES:
        stage = result.stage(name)
        history = stored_history(store, stage)
        if history and len(history) >= stage.best_epoch:
            curves[name] = LearningCurve(tuple(history), stage.best_epoch)
    return curves
