"""Whose weights a search still needs: the best trials, the reference, and some baselines.

All of it follows from the study's trials, so a restarted driver needs the same weights. A trial
that is no longer among the best never is again.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import STAGES, ProtocolResult, StageSummary
from shiftsearch.search.study.records import TrialRecord, stage_values
from shiftsearch.search.study.tallies import Key, key_of

_Rank = tuple[float, float, int]


class Needed:
    """A `search.study.tallies.Tally` of courses whose weights are needed.

    These are both stages of the best complete trials and of the reference, the baselines of open
    trials, and those that may be fine-tuned again.

    Args:
        count: number of the best trials, at least 1. They are ranked as for the export: by the
            objective, then by the loss, then by number; trials with one fine-tune count once.
        branched: returns the trials whose baselines may be fine-tuned again.

    Attributes:
        stages: the stages of all complete trials, by course.
    """

    def __init__(self, count: int, branched: Callable[[], Iterable[int]]) -> None:
        self._count, self._branched = count, branched
        self.stages: dict[str, StageSummary] = {}
        self._complete: set[int] = set()
        self._best: list[tuple[_Rank, ProtocolResult]] = []
        self._ranks: dict[str, _Rank] = {}  # of the best, by the key of the fine-tune
        self._holders: Counter[str] = Counter()  # best trials and references, by course
        self._open: Counter[Key] = Counter()  # open trials, by the values of their baseline
        self._values: dict[str, Key] = {}  # those of a baseline, by course
        self._baselines: dict[int, str] = {}  # courses, by the trial that trained it
        self._branched_before: set[str] = set()
        self._dropped: list[str] = []

    def add(self, record: TrialRecord) -> None:
        """See `Tally`."""
        if record.state in ("waiting", "running"):
            self._open[_baseline_of(record.configuration)] += 1
        elif record.result is not None and record.number not in self._complete:
            self._complete.add(record.number)
            self._take_in(record, record.result)

    def remove(self, record: TrialRecord) -> None:
        """See `Tally`; a complete trial does not change any more."""
        if record.state in ("waiting", "running"):
            values = _baseline_of(record.configuration)
            self._open[values] -= 1
            if not self._open[values]:
                del self._open[values]

    def is_needed(self, course: str) -> bool:
        """Whether the weights of a complete trial's course are needed."""
        if course in self._holders or course in self._branched_before:
            return True
        return course in self._values and self._open[self._values[course]] > 0

    def is_open(self, configuration: Mapping[str, Value]) -> bool:
        """Whether an open trial has the baseline of a configuration."""
        return self._open[_baseline_of(configuration)] > 0

    def released(self) -> list[str]:
        """Courses that lost a reason to be needed since the last call; they may have others."""
        roots = [root for root in self._branched() if root in self._baselines]
        branched = {self._baselines[root] for root in roots}
        found = [*self._dropped, *(self._branched_before - branched)]
        self._branched_before, self._dropped = branched, []
        return found

    def _take_in(self, record: TrialRecord, result: ProtocolResult) -> None:
        baseline = result.baseline.course
        for name in STAGES:
            self.stages.setdefault(result.stage(name).course, result.stage(name))
        self._values[baseline] = _baseline_of(record.configuration)
        self._baselines[record.root] = baseline
        self._dropped.append(baseline)  # it was an open trial's
        if record.role == "reference":
            self._hold(result)
        if record.infeasible:
            self._dropped.append(result.fine_tune.course)
            return
        rank = -(record.value or 0.0), result.fine_tune.test2.loss, record.number
        self._enter(rank, result)

    def _enter(self, rank: _Rank, result: ProtocolResult) -> None:
        key = result.fine_tune.key
        if known := self._ranks.get(key):
            if rank < known:
                del self._best[bisect_left(self._best, known, key=_rank)]
            else:
                return
        else:
            self._hold(result)
        self._ranks[key] = rank
        insort(self._best, (rank, result), key=_rank)
        if len(self._best) > self._count:
            _, worst = self._best.pop()
            del self._ranks[worst.fine_tune.key]
            self._release(worst)

    def _hold(self, result: ProtocolResult) -> None:
        self._holders.update(result.stage(name).course for name in STAGES)

    def _release(self, result: ProtocolResult) -> None:
        for course in (result.stage(name).course for name in STAGES):
            self._holders[course] -= 1
            if not self._holders[course]:
                del self._holders[course]
                self._dropped.append(course)


def _rank(entry: tuple[_Rank, ProtocolResult]) -> _Rank:
    return entry[0]


def _baseline_of(configuration: Mapping[str, Value]) -> Key:
    return key_of(stage_values(configuration, "baseline"))
