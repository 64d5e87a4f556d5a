"""When a study fine-tunes an existing baseline again, and when it stops a trial at a rung.

Both decisions depend only on the study's trials, so a restarted driver decides as before. The
defaults were chosen by replay on recorded trials, see `experiments/LOG.md`.
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
        branches: most fine-tunes of one baseline, its first included; 1: baselines are not shared.
        first_baselines: number of baselines begun before any is fine-tuned again.
        rungs: baseline budgets in epochs, rising, each followed by a whole fine-tune.
        keep: fraction of the trials at a rung that continue, the best ones; in (0, 1].
        min_population: least number of trials at a rung before any is stopped there.
    """

    branches: int = 6
    first_baselines: int = 4
    rungs: tuple[int, ...] = ()
    keep: float = 1 / 3
    min_population: int = 4

    def branch_of(self, families: Families) -> int | None:
        """The trial whose baseline the next trial fine-tunes, or None for a new baseline.

        The best baseline, by the mean of its complete trials, is fine-tuned until it has
        `branches` fine-tunes, failed ones included. Then new baselines are trained until one is
        better. No baseline is fine-tuned again before `first_baselines` were begun.
        """
        if self.branches < 2 or families.roots < self.first_baselines:
            return None
        best = families.best()
        return None if best is None or families.size(best) >= self.branches else best

    def stops(self, trial: TrialRecord, epochs: int, values: RungValues) -> bool:
        """Whether the trial stops at the rung for which it has just reported its value.

        It is compared with the values at the same rung of trials that did not fail. The reference
        configuration and points are never stopped.
        """
        if trial.role != "sampled":
            return False
        population = values.count(epochs)
        if population < self.min_population:
            return False
        better = values.better(epochs, trial.rungs[epochs])
        return better >= math.ceil(self.keep * population - 1e-9)  # the product rounds
