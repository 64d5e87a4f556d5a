"""Which trials were the best of a search when they ended, for live and simulated searches.

Imports nothing large, so that it does not delay the start of a timed search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Trial = TypeVar("Trial")


def incumbents(trials: Iterable[Trial], value: Callable[[Trial], float]) -> list[Trial]:
    """The trials that were best when they ended; of equal ones, only the first.

    Args:
        trials: ended trials, in the order in which they ended.
        value: ranks the trials, higher is better; must be visible to the search.

    Returns:
        The trials in the same order, with rising values; empty without trials.
    """
    found: list[Trial] = []
    for trial in trials:
        if not found or value(trial) > value(found[-1]):
            found.append(trial)
    return found
