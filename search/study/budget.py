"""Budgets: when a study stops asking. Running trials are let finish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from shiftsearch.search.study.records import TrialRecord


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

    def spent(self, seconds: float, trainings: Trainings) -> bool:
        """Whether time or trainings are used up."""
        if self.seconds is not None and seconds >= self.seconds:
            return True
        return self.trainings is not None and trainings.total >= self.trainings


@dataclass(frozen=True)
class FailurePolicy:
    """When failed trials end the search.

    Attributes:
        max_share: of failed trials among the ended ones, in 0..1; above it the search ends.
        min_ended: ended trials below which the share is not looked at.
    """

    max_share: float = 0.5
    min_ended: int = 5


class Trainings:
    """Training time of all ended trials, in multiples of the mean whole protocol's.

    Trials that train their own baseline to the end are the measure. A rung costs a mean
    fine-tune, a stopped baseline its share of the mean epochs; failed ones cost nothing. A
    `search.study.tallies.Tally`; its sums are exact, so n equal trials are n trainings.
    """

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        self._whole = self._rungs = self._epochs = 0
        self._baseline = self._fine_tune = self._trained = Fraction()
        self._stopped: Counter[int] = Counter()  # by the baseline epochs of their last rung
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """See `search.study.tallies.Tally`."""
        self._count(record, 1)

    def remove(self, record: TrialRecord) -> None:
        """See `search.study.tallies.Tally`."""
        self._count(record, -1)

    def _count(self, record: TrialRecord, sign: int) -> None:
        if record.branch_of is None and record.result is not None:
            baseline = record.result.baseline
            self._whole += sign
            self._epochs += sign * baseline.epochs
            self._baseline += sign * Fraction(baseline.seconds)
            self._fine_tune += sign * Fraction(record.result.fine_tune.seconds)
        if record.state not in ("complete", "pruned"):
            return
        self._trained += sign * Fraction(record.trained_seconds or 0.0)
        self._rungs += sign * len(record.rungs) * (record.branch_of is None)
        if record.state == "pruned" and record.rungs:
            self._stopped[max(record.rungs)] += sign

    @property
    def total(self) -> float:
        """So far."""
        if not self._whole:
            return 0.0
        baseline, fine_tune = self._baseline / self._whole, self._fine_tune / self._whole
        mean_epochs = Fraction(self._epochs, self._whole)
        spent = self._trained + fine_tune * self._rungs
        for epochs, count in self._stopped.items():
            spent += count * baseline * min(Fraction(1), epochs / mean_epochs)
        return float(spent / ((baseline + fine_tune) or 1))
