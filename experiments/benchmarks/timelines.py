"""Times to a target, their ratios and medians, from the ends of a search's trials.

A search that stops before it reaches its target needs more time than it ran. Times and ratios are
therefore bounds: pairs (low, high), which are equal if the value is known. Medians of bounds are
bounds of the median.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from shiftsearch.search.study.incumbents import incumbents

TIMELINE = "timeline.json"
"""The file in a search's folder: `{"started": Unix time, "trials": [{"ended", ...}, ...]}`."""


class Ended(NamedTuple):
    """A trial that went through the whole protocol.

    Attributes:
        seconds: time of its end, since the search was launched.
        selection: its accuracy on the selection part, 0..1, which the search uses.
        held_out: its accuracy on the held-out part, 0..1, which only the benchmark uses.
    """

    seconds: float
    selection: float
    held_out: float


@dataclass(frozen=True)
class Timeline:
    """A search's ended trials, in any order."""

    trials: Sequence[Ended]


class Bounds(NamedTuple):
    """Bounds of a value; both are the value itself if it is known."""

    low: float
    high: float

    def text(self, form: str = ".1f") -> str:
        """`3.4`, `> 3.4`, `< 3.4`, `3.4 to 5.6`, or `unknown`."""
        if self.low == self.high:
            return f"{self.low:{form}}"
        if self.low > 0 and self.high < math.inf:
            return f"{self.low:{form}} to {self.high:{form}}"
        if self.low > 0:
            return f"> {self.low:{form}}"
        return f"< {self.high:{form}}" if self.high < math.inf else "unknown"


def read_timeline(path: Path) -> Timeline:
    """A stored timeline, without the trials that were stopped early and so left no weights."""
    trials = json.loads(path.read_text(encoding="utf-8"))["trials"]
    whole = [t for t in trials if t["held_out"] is not None]
    return Timeline([Ended(t["ended"], t["selection"], t["held_out"]) for t in whole])


def incumbents_of(timeline: Timeline) -> list[Ended]:
    """The trials that were best by selection when they ended, in order of time; first of ties.

    Raises:
        ValueError: without trials.
    """
    if not timeline.trials:
        raise ValueError("a timeline needs at least one ended trial, got 0")
    in_time = sorted(timeline.trials, key=lambda t: t.seconds)
    return incumbents(in_time, lambda t: t.selection)


def time_to_target(timeline: Timeline, target: float) -> float | None:
    """Seconds until an incumbent's held-out accuracy is first `target` or more; None if never.

    A later incumbent, better by selection, may be below the target again; this is ignored.
    """
    reached = (t.seconds for t in incumbents_of(timeline) if t.held_out >= target)
    return next(reached, None)


def bounds_of_time(timeline: Timeline, target: float) -> Bounds:
    """The time to target; if it was not reached, at least the duration of the search."""
    seconds = time_to_target(timeline, target)
    if seconds is None:
        return Bounds(max(t.seconds for t in timeline.trials), math.inf)
    return Bounds(seconds, seconds)


def ratio(slow: Bounds, fast: Bounds) -> Bounds:
    """How many times sooner `fast` is than `slow`; both above 0."""
    return Bounds(slow.low / fast.high, slow.high / fast.low)


def median_bounds(values: Sequence[Bounds]) -> Bounds:
    """Bounds of the median."""
    return Bounds(median(v.low for v in values), median(v.high for v in values))


def spread_of_bounds(values: Sequence[Bounds], form: str = ".1f") -> str:
    """Median and range, as text."""
    low = Bounds(min(v.low for v in values), min(v.high for v in values))
    high = Bounds(max(v.low for v in values), max(v.high for v in values))
    return f"{median_bounds(values).text(form)} ({low.text(form)} to {high.text(form)})"
