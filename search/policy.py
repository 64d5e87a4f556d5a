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

    branches: int = 6
    first_baselines: int = 4
    rungs: tuple[int, ...] = ()
    keep: float = 1 / 3
    min_population: int = 4

    def branch_of(self, trials: Sequence[TrialRecord]) -> int | None:
        """The trial whose baseline the next one is to take up, or None for a new baseline.

        The best baseline, by the mean of its complete trials, is taken up until it has `branches`
        fine-tunes, failed ones included; then new ones are trained until one of them is better.
        None is taken up before `first_baselines` were begun.
        """
        begun = [t for t in trials if t.state != "waiting"]
        roots = [t for t in begun if t.branch_of is None and t.state != "fail"]
        if self.branches < 2 or len(roots) < self.first_baselines:
            return None
        families: dict[int, list[TrialRecord]] = {}
        for trial in begun:
            families.setdefault(trial.root, []).append(trial)
        ranks: list[tuple[float, int]] = []
        for root in roots:
            values = [t.value for t in families[root.number] if t.value is not None]
            if root.has_baseline and values:
                ranks.append((fmean(values), -root.number))
        if not ranks:
            return None
        best = -max(ranks)[1]
        return best if len(families[best]) < self.branches else None

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
