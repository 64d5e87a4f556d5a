"""What a study does beside asking its sampler: take up a baseline again, stop a trial at a rung.

Both are functions of the study's trials alone, so a restarted driver decides as the old one. The
defaults are what replay on recorded trials chose, see `experiments/LOG.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.tallies import Families, RungValues


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

    branches: int = 6
    first_baselines: int = 4
    rungs: tuple[int, ...] = ()
    keep: float = 1 / 3
    min_population: int = 4

    def branch_of(self, families: Families) -> int | None:
        """The trial whose baseline the next one is to take up, or None for a new baseline.

        The best baseline, by the mean of its complete trials, is taken up until it has `branches`
        fine-tunes, failed ones included; then new ones are trained until one of them is better.
        None is taken up before `first_baselines` were begun.
        """
        if self.branches < 2 or families.roots < self.first_baselines:
            return None
        best = families.best()
        return None if best is None or families.size(best) >= self.branches else best

    def stops(self, trial: TrialRecord, epochs: int, values: RungValues) -> bool:
        """Whether the trial is to end at a rung where it has just reported its value.

        Only values at that very rung are compared, of trials that did not fail; the reference
        configuration and points are never stopped.
        """
        if trial.role != "sampled":
            return False
        population = values.count(epochs)
        if population < self.min_population:
            return False
        better = values.better(epochs, trial.rungs[epochs])
        return better >= math.ceil(self.keep * population - 1e-9)  # the product rounds
