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

    Trials that train their own baseline to the end are the measure; failed ones cost nothing.
    """
    whole = [r.trained_seconds for r in records if r.branch_of is None and r.trained_seconds]
    spent = sum(r.trained_seconds or 0.0 for r in records)
    return spent / fmean(whole) if whole else 0.0
