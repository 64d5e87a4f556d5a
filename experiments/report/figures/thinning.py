"""Fewer trials for figures of large searches."""

from __future__ import annotations

from collections.abc import Sequence

from shiftsearch.search.study.records import TrialRecord

MOST = 500
"""About the largest number of trials that are drawn one by one."""


def thinned(trials: Sequence[TrialRecord], winner: int) -> list[TrialRecord]:
    """All trials, or of more than `MOST` every second, every third, and so on.

    The winner and the reference are always among them.
    """
    step = -(-len(trials) // MOST)
    return [
        t
        for place, t in enumerate(trials)
        if place % step == 0 or t.number == winner or t.role == "reference"
    ]


def some_of(drawn: Sequence[TrialRecord], trials: Sequence[TrialRecord]) -> str:
    """Words that follow the number of trials where not all are drawn."""
    return f", {len(drawn)} of them drawn," if len(drawn) < len(trials) else ""
