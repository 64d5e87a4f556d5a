"""Estimates the time left in a phase from the times of its jobs."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence


class Pace:
    """Times of ended jobs; separate for branches, which train no baseline."""

    def __init__(self) -> None:
        self._branches: list[float] = []  # all three lists are sorted
        self._others: list[float] = []
        self._all: list[float] = []

    def note(self, seconds: float, *, branch: bool) -> None:
        """Add the time of an ended job."""
        insort(self._branches if branch else self._others, seconds)
        insort(self._all, seconds)

    def seconds_left(
        self,
        jobs: int,
        running: Sequence[tuple[float, bool]],
        concurrency: int,
        *,
        branching: bool,
    ) -> float | None:
        """An estimate from median times; None before the first job has ended or if none is left.

        Args:
            jobs: number of jobs that have not ended.
            running: for each running job, its seconds so far and whether it is a branch.
            concurrency: number of jobs at once.
            branching: whether later jobs will be branches as often as the ended ones.
        """
        if not self._all or jobs <= 0:
            return None
        whole = _median(self._others or self._all)
        branch = _median(self._branches or self._all)
        usual = _median(self._all) if branching else whole
        under_way = sum(
            max(0.0, (branch if is_branch else whole) - seconds) for seconds, is_branch in running
        )
        return (under_way + max(0, jobs - len(running)) * usual) / min(jobs, concurrency)


def _median(ordered: Sequence[float]) -> float:
    """The median of a sorted list; `statistics.median` would sort it again."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
