"""The Pareto front: trials of which none is at least as good in every objective and better in one.

The accuracy is that of the search, so it is partly luck; the costs are exact, but for latencies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shiftsearch.search.study.records import TrialRecord, best_families, best_trials


def front(trials: Sequence[TrialRecord], costs: Sequence[str]) -> list[TrialRecord]:
    """The complete trials that no other dominates in the objective and in costs, best first.

    Trials that break a constraint, or whose costs are unknown, are left out. Of trials with equal
    values only the first stays.

    Args:
        trials: the study's trials.
        costs: names of the costs that are minimised.
    """
    able = [t for t in best_trials(trials, len(trials)) if t.costs.keys() >= set(costs)]
    # In this order no trial is dominated by a later one.
    able.sort(key=lambda t: (-(t.value or 0.0), *(t.costs[name] for name in costs), t.number))
    found: list[TrialRecord] = []
    for trial in able:
        if not any(_is_covered(trial, other, costs) for other in found):
            found.append(trial)
    return found


def _is_covered(trial: TrialRecord, other: TrialRecord, costs: Sequence[str]) -> bool:
    """Whether a trial with at least the objective is as good in every cost."""
    return all(other.costs[name] <= trial.costs[name] for name in costs)


def spread(found: Sequence[TrialRecord], costs: Sequence[str], count: int) -> list[TrialRecord]:
    """At most `count` trials that represent a front, its best among them.

    Each further one is the farthest from those that are chosen (Gonzalez, Clustering to minimize
    the maximum intercluster distance, 1985). Distances are Euclidean, each objective scaled to
    0..1 over the front, costs by their logarithms.

    Args:
        found: a front, best first.
        costs: names of its costs.
        count: at least 1.

    Returns:
        The trials in the front's order.
    """
    if not found:
        return []
    places = _places(found, costs)
    chosen = [0]
    while len(chosen) < min(count, len(found)):
        distances = np.linalg.norm(places[:, None] - places[chosen], axis=2).min(axis=1)
        chosen.append(int(distances.argmax()))
    return [found[i] for i in sorted(chosen)]


def chosen(trials: Sequence[TrialRecord], costs: Sequence[str], count: int) -> list[TrialRecord]:
    """At most `count` trials to retrain: those that represent the front, then the best others.

    Without costs, the best trial of each of the best baselines.
    """
    families = best_families(trials, len(trials))
    found = spread(front(trials, costs), costs, count) if costs else []
    numbers = {t.number for t in found}
    return (found + [t for t in families if t.number not in numbers])[:count]


def _places(found: Sequence[TrialRecord], costs: Sequence[str]) -> NDArray[np.float64]:
    """[trials, 1 + costs] values, each column scaled to 0..1; 0 where all are equal."""
    logs = [[math.log(t.costs[name]) for name in costs] for t in found]
    values = np.array([[t.value or 0.0, *row] for t, row in zip(found, logs, strict=True)])
    width = np.ptp(values, axis=0)
    scaled: NDArray[np.float64] = (values - values.min(axis=0)) / np.where(width > 0, width, 1)
    return scaled
