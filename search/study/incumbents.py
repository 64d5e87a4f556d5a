"""Which trials were a search's best when they ended: one rule for live and simulated searches.

Without imports of weight, so that a timed search that needs it starts no later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Trial = TypeVar("Trial")


def incumbents(trials: Iterable[Trial], value: Callable[[Trial], float]) -> list[Trial]:
    """Those that were best when they ended; the first of equals stays.

    Args:
        trials: ended ones, in the order of their ends.
        value: what they are ranked by, higher is better; what the search may see.

    Returns:
        In the same order, with rising values; empty without trials.
    """
    found: list[Trial] = []
    for trial in trials:
        if not found or value(trial) > value(found[-1]):
            found.append(trial)
    return found
