"""Tallies: counts and sums over the trials of a study, kept up to date trial by trial.

A tally is told about every change of a trial (`StoredStudy.follow`), so that a query takes the
same time at the first trial and at the hundred thousandth. Tallies are filled when the study is
opened. Sums are exact, so they do not depend on the order in which trials ended.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.study.records import TrialRecord, stage_values

Key = tuple[tuple[str, ...], tuple[Value, ...]]
_NAMES: dict[tuple[str, ...], tuple[str, ...]] = {}
"""The names of the keys, once each: a frozen set of pairs would take 3 kB a trial."""


class Tally(Protocol):
    """Follows the trials of a study."""

    def add(self, record: TrialRecord) -> None:
        """Count a trial that is new or has changed, as it is now."""

    def remove(self, record: TrialRecord) -> None:
        """Undo `add` with the same record, before the trial is added in its changed form."""


def key_of(configuration: Mapping[str, Value]) -> Key:
    """A key that is equal for equal configurations in any order."""
    names = tuple(sorted(configuration))
    return _NAMES.setdefault(names, names), tuple(configuration[name] for name in names)


class Configurations:
    """The trials of each configuration."""

    def __init__(self) -> None:
        self._numbers: dict[Key, list[int]] = defaultdict(list)

    def add(self, record: TrialRecord) -> None:
        """See `Tally`."""
        if record.configuration:
            insort(self._numbers[key_of(record.configuration)], record.number)

    def remove(self, record: TrialRecord) -> None:
        """See `Tally`."""
        if record.configuration:
            _take(self._numbers[key_of(record.configuration)], record.number)

    def first(self, configuration: Mapping[str, Value]) -> int | None:
        """The number of the first trial with this configuration, or None."""
        numbers = self._numbers.get(key_of(configuration))
        return numbers[0] if numbers else None


class Baselines:
    """The trials that have trained a baseline of their own, or are running and may train one."""

    def __init__(self) -> None:
        self._trained: dict[Key, list[int]] = defaultdict(list)
        self._running: dict[Key, list[int]] = defaultdict(list)

    def add(self, record: TrialRecord) -> None:
        """See `Tally`."""
        numbers = self._place(record)
        if numbers is not None:
            insort(numbers, record.number)

    def remove(self, record: TrialRecord) -> None:
        """See `Tally`."""
        numbers = self._place(record)
        if numbers is not None:
            _take(numbers, record.number)

    def _place(self, record: TrialRecord) -> list[int] | None:
        if record.branch_of is not None or not record.configuration:
            return None
        key = key_of(stage_values(record.configuration, "baseline"))
        if record.has_baseline:
            return self._trained[key]
        return self._running[key] if record.state == "running" else None

    def root(
        self, configuration: Mapping[str, Value], number: int, working: set[int]
    ) -> int | None:
        """The first other trial that has trained, or is training, the configuration's baseline.

        Args:
            configuration: the configuration of trial `number`.
            number: the trial whose baseline is looked for.
            working: trials that workers are running.

        Returns:
            The trial's number, or None.
        """
        key = key_of(stage_values(configuration, "baseline"))
        trained = (n for n in self._trained.get(key, ()) if n != number)
        running = (n for n in self._running.get(key, ()) if n != number and n in working)
        found = [n for n in (next(trained, None), next(running, None)) if n is not None]
        return min(found, default=None)


class Families:
    """Baselines and the trials that fine-tune them, best first.

    Attributes:
        roots: number of begun trials with a baseline of their own that did not fail.
    """

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        self.roots = 0
        self._sizes: dict[int, int] = defaultdict(int)
        self._ended: dict[int, int] = defaultdict(int)
        self._sums: dict[int, Fraction] = defaultdict(Fraction)
        self._values: dict[int, int] = defaultdict(int)
        self._with_baseline: set[int] = set()
        self._means: dict[int, float | None] = {}
        self._ranking: list[tuple[float, int]] = []  # in order, the best first
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """See `Tally`."""
        self._count(record, 1)

    def remove(self, record: TrialRecord) -> None:
        """See `Tally`."""
        self._count(record, -1)

    def _count(self, record: TrialRecord, sign: int) -> None:
        if record.state in ("waiting", "refused"):
            return
        root = record.root
        self._sizes[root] += sign
        self._ended[root] += sign * record.has_ended
        if record.value is not None:
            self._sums[root] += sign * Fraction(record.value)
            self._values[root] += sign
        if record.branch_of is None and record.state != "failed":
            self.roots += sign
            if record.has_baseline and not record.infeasible:  # a branch has the same network
                (self._with_baseline.add if sign > 0 else self._with_baseline.discard)(root)
        self._rank(root)

    def _rank(self, root: int) -> None:
        values, mean = self._values[root], None
        if values and root in self._with_baseline:
            mean = float(self._sums[root]) / values  # bit for bit equal to statistics.fmean
        before = self._means.get(root)
        if mean != before:
            if before is not None:
                _take(self._ranking, (-before, root))
            if mean is not None:
                insort(self._ranking, (-mean, root))
        self._means[root] = mean

    def best(self) -> int | None:
        """The root with the best mean over its complete trials (the first of equals), or None.

        Only roots that did not fail and whose baseline is trained count.
        """
        return self._ranking[0][1] if self._ranking else None

    def unfilled(self, most: int) -> Iterator[int]:
        """Roots with fewer than `most` trials that are the best or may become it, best first.

        None comes after a root with `most` trials that have all ended, because its mean stays.
        """
        for _, root in self._ranking:
            if self._sizes[root] < most:
                yield root
            elif self._sizes[root] == self._ended[root]:
                return

    def size(self, root: int) -> int:
        """Number of begun trials with the root's baseline, the root and failed ones included."""
        return self._sizes[root]


class Intermediates:
    """Intermediate values of all trials that did not fail, by baseline epochs."""

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        self._values: dict[int, list[float]] = defaultdict(list)
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """See `Tally`."""
        if record.state != "failed":
            for epochs, value in record.intermediate.items():
                insort(self._values[epochs], value)

    def remove(self, record: TrialRecord) -> None:
        """See `Tally`."""
        if record.state != "failed":
            for epochs, value in record.intermediate.items():
                _take(self._values[epochs], value)

    def count(self, epochs: int) -> int:
        """Number of values after `epochs` baseline epochs."""
        return len(self._values[epochs])

    def better(self, epochs: int, value: float) -> int:
        """Number of values above `value` after `epochs` baseline epochs."""
        values: Sequence[float] = self._values[epochs]
        return len(values) - bisect_right(values, value)


class Failures:
    """Failed trials that are not tried again, by what they failed of.

    Attributes:
        lost: their workers were lost.
        diverged: a number was not finite, see `TrialRecord.diverged`.
        other: any other cause.
    """

    def __init__(self) -> None:
        self.lost = self.diverged = self.other = 0
        self._failed: dict[int, TrialRecord] = {}
        self.retried: set[int] = set()

    @property
    def count(self) -> int:
        """Number of these trials."""
        return self.lost + self.diverged + self.other

    def add(self, record: TrialRecord) -> None:
        """See `Tally`."""
        if record.state == "failed":
            self._failed[record.number] = record
            self._count(record.number, 1)
        if record.retry_of is not None:
            self._count(record.retry_of, -1)
            self.retried.add(record.retry_of)

    def remove(self, record: TrialRecord) -> None:
        """See `Tally`; that a trial is tried again is never undone."""
        if record.state == "failed":
            self._count(record.number, -1)
            del self._failed[record.number]

    def _count(self, number: int, sign: int) -> None:
        record = self._failed.get(number)
        if record is None or number in self.retried:
            return
        self.lost += sign * record.lost
        self.diverged += sign * record.diverged
        self.other += sign * (not record.lost and not record.diverged)


def _take(ordered: list[Any], value: Any) -> None:
    """Remove a value that is in the ordered list."""
    del ordered[bisect_left(ordered, value)]
