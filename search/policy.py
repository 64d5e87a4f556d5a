"""What a study does beside asking its sampler: take up a baseline again, stop a trial at a rung.

Both are functions of the study's trials alone, so a restarted driver decides as the old one. The
defaults are what replay on recorded trials chose, see `experiments/LOG.md`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from search.records import TrialRecord


@dataclass(frozen=True)
class Policy:
    """How a study spends its trainings.

    Attributes:
        branches: fine-tunes of one baseline at most, its first included; 1 shares nothing.
        first_baselines: baselines that are begun before any is taken up again.
        rungs: baseline budgets in epochs, rising, each followed by a whole fine-tune.
        keep: share of the trials at a rung that go on, the best; in (0, 1].
        min_population: trials at a rung below which none is stopped there.
    """

    branches: int = 8
    first_baselines: int = 4
    rungs: tuple[int, ...] = ()
    keep: float = 1 / 3
    min_population: int = 4

    def branch_of(self, trials: Sequence[TrialRecord]) -> int | None:
        """The trial whose baseline the next one is to take up, or None for a new baseline.

        The best baseline is taken, by the mean of its complete trials, among those with fewer
        than `branches` fine-tunes, failed ones included. It is new baselines' turn when none is
        left, or when fewer than `first_baselines` were begun.
        """
        begun = [t for t in trials if t.state != "waiting"]
        roots = [t for t in begun if t.branch_of is None and t.state != "fail"]
        if self.branches < 2 or len(roots) < self.first_baselines:
            return None
        best: tuple[float, int] | None = None
        for root in roots:
            family = [t for t in begun if t.root == root.number]
            values = [t.value for t in family if t.value is not None]
            if not root.has_baseline or not values or len(family) >= self.branches:
                continue
            rank = (fmean(values), -root.number)
            best = rank if best is None else max(best, rank)
        return None if best is None else -best[1]

    def stops(self, trial: TrialRecord, epochs: int, trials: Sequence[TrialRecord]) -> bool:
        """Whether the trial is to end at a rung where it has just reported its value.

        Only values at that very rung are compared, of trials that did not fail; the reference
        configuration and points are never stopped.
        """
        if trial.role != "sampled":
            return False
        values = [t.rungs[epochs] for t in trials if t.state != "fail" and epochs in t.rungs]
        if len(values) < self.min_population:
            return False
        better = sum(value > trial.rungs[epochs] for value in values)
        return better >= math.ceil(self.keep * len(values) - 1e-9)  # the product rounds
