"""Fewer trials for figures of large searches."""

from __future__ import annotations

import random
from collections.abc import Sequence

from shiftsearch.search.study.records import TrialRecord

MOST = 500
"""The largest number of trials that are drawn one by one, besides the winner and the reference."""


def thinned(trials: Sequence[TrialRecord], winner: int) -> list[TrialRecord]:
    """All trials, or of more than `MOST` so many at random, always the same, in their order.

    The winner and the reference are always among them.
    """
    if len(trials) <= MOST:
        return list(trials)
    chosen = set(random.Random(0).sample(range(len(trials)), MOST))
    return [
        t
        for place, t in enumerate(trials)
        if place in chosen or t.number == winner or t.role == "reference"
    ]


def some_of(drawn: Sequence[TrialRecord], trials: Sequence[TrialRecord]) -> str:
    """Words that follow the number of trials where not all are drawn."""
    return f", {len(drawn)} of them drawn," if len(drawn) < len(trials) else ""
