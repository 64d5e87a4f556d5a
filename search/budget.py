"""Budgets: when a study stops asking. Running trials are let finish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from search.records import TrialRecord


@dataclass(frozen=True)
class Budget:
    """What may be spent; None is without limit.

    Attributes:
        trials: complete or pruned ones wanted.
        seconds: of the driver's clock, over all its calls on the run.
        trainings: multiples of one whole protocol; a fine-tune of a baseline that exists, or a
            stopped trial, counts as the share of it that it trained.
    """

    trials: int = 20
    seconds: float | None = None
    trainings: float | None = None

    def spent(self, seconds: float, records: Sequence[TrialRecord]) -> bool:
        """Whether time or trainings are used up."""
        if self.seconds is not None and seconds >= self.seconds:
            return True
        return self.trainings is not None and trainings(records) >= self.trainings


@dataclass(frozen=True)
class FailurePolicy:
    """When failed trials end the search.

    Attributes:
        max_share: of failed trials among the ended ones, in 0..1; above it the search ends.
        min_ended: ended trials below which the share is not looked at.
    """

    max_share: float = 0.5
    min_ended: int = 5


def trainings(records: Sequence[TrialRecord]) -> float:
    """Training time of all ended trials, in multiples of the mean whole protocol's.

    Trials that train their own baseline to the end are the measure. A rung costs a mean
    fine-tune, a stopped baseline its share of the mean epochs; failed ones cost nothing.
    """
    whole = [r.result for r in records if r.branch_of is None and r.result is not None]
    if not whole:
        return 0.0
    baseline = fmean(result["baseline"]["seconds"] for result in whole)
    fine_tune = fmean(result["fine_tune"]["seconds"] for result in whole)
    spent = 0.0
    for record in records:
        if record.state not in ("complete", "pruned"):
            continue
        spent += record.trained_seconds or 0.0
        spent += fine_tune * len(record.rungs) * (record.branch_of is None)
        if record.state == "pruned" and record.rungs:
            epochs = fmean(result["baseline"]["epochs"] for result in whole)
            spent += baseline * min(1.0, max(record.rungs) / epochs)
    return spent / ((baseline + fine_tune) or 1.0)
