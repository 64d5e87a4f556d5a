"""Budgets: when a study asks for no more trials. Running trials may finish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from shiftsearch.search.study.records import TrialRecord


@dataclass(frozen=True)
class Budget:
    """What may be spent; None means no limit.

    Attributes:
        trials: number of trials that should end complete or pruned.
        seconds: time by the driver's clock, added up over all calls on the run.
        trainings: training time in multiples of one whole protocol. A fine-tune of an existing
            baseline, or a stopped trial, counts as the fraction that it trained.
    """

    trials: int = 20
    seconds: float | None = None
    trainings: float | None = None

    def spent(self, seconds: float, trainings: Trainings) -> bool:
        """Whether the time or the trainings are used up."""
        if self.seconds is not None and seconds >= self.seconds:
            return True
        return self.trainings is not None and trainings.total >= self.trainings


@dataclass(frozen=True)
class FailurePolicy:
    """When failed trials end the search.

    Attributes:
        max_share: the search ends if a larger fraction of the ended trials failed, in 0..1.
        min_ended: number of ended trials from which on this is checked.
    """

    max_share: float = 0.5
    min_ended: int = 5


class Trainings:
    """Training time of all ended trials, in multiples of the mean time of one whole protocol.

    The mean is over complete trials with a baseline of their own. An intermediate value costs one
    mean fine-tune, and a stopped baseline its fraction of the mean epochs. Failed trials cost
    nothing. A `search.study.tallies.Tally`; its sums are exact, so n equal trials are n trainings.
    """

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        self._whole = self._reports = self._epochs = 0
        self._baseline = self._fine_tune = self._trained = Fraction()
        self._stopped: Counter[int] = Counter()  # by their baseline epochs
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
        self._reports += sign * len(record.intermediate) * (record.branch_of is None)
        if record.stopped_at is not None:
            self._stopped[record.stopped_at] += sign

    @property
    def total(self) -> float:
        """The trainings so far."""
        if not self._whole:
            return 0.0
        baseline, fine_tune = self._baseline / self._whole, self._fine_tune / self._whole
        mean_epochs = Fraction(self._epochs, self._whole)
        spent = self._trained + fine_tune * self._reports
        for epochs, count in self._stopped.items():
            spent += count * baseline * min(Fraction(1), epochs / mean_epochs)
        return float(spent / ((baseline + fine_tune) or 1))
