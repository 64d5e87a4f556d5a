"""How long a phase still takes, from how long its jobs took."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence


class Pace:
    """Times of ended jobs, branches apart: they spare a baseline."""

    def __init__(self) -> None:
        self._branches: list[float] = []  # these three are kept in order
        self._others: list[float] = []
        self._all: list[float] = []

    def note(self, seconds: float, *, branch: bool) -> None:
        """A job took so long."""
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
        """From median times; None before the first job has ended or when none is left.

        Args:
            jobs: that are still to end.
            running: of those under way, the seconds so far and whether it is a branch.
            concurrency: jobs at once.
            branching: whether branches will be among those that wait, as often as before.
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
    """As `statistics.median`, which would order all times anew at every look."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
