"""How long a phase still takes, from how long its jobs took."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


class Pace:
    """Times of ended jobs, branches apart: they spare a baseline."""

    def __init__(self) -> None:
        self._branches: list[float] = []
        self._others: list[float] = []

    def note(self, seconds: float, *, branch: bool) -> None:
        """A job took so long."""
        (self._branches if branch else self._others).append(seconds)

    def seconds_left(
        self,
        jobs: int,
        running: Sequence[tuple[float, bool]],
        concurrency: int,
        *,
        branching: bool,
    ) -> float | None:
        """From median times; None before the first job has ended or when none is left.

        Args:
            jobs: that are still to end.
            running: of those under way, the seconds so far and whether it is a branch.
            concurrency: jobs at once.
            branching: whether branches will be among those that wait, as often as before.
        """
        known = [*self._branches, *self._others]
        if not known or jobs <= 0:
            return None
        whole = statistics.median(self._others or known)
        branch = statistics.median(self._branches or known)
        usual = statistics.median(known) if branching else whole
        under_way = sum(
            max(0.0, (branch if is_branch else whole) - seconds) for seconds, is_branch in running
        )
        return (under_way + max(0, jobs - len(running)) * usual) / min(jobs, concurrency)
