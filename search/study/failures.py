"""Failed trials: which results fail a trial, and which failed trials are tried again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from shiftsearch.search.study.records import TrialRecord

ALL = "all"


def flaw(name: str, value: float, result: Mapping[str, Any] | None = None) -> str:
    """Why a trial with this result fails; empty if it does not.

    Args:
        name: name of the objective.
        value: the objective.
        result: the result as JSON values, if there is one.
    """
    if not math.isfinite(value):
        return f"{name} is {value}, but must be finite"
    try:
        json.dumps(result, allow_nan=False)
    except ValueError:
        return "its result holds a value that is not finite"
    return ""


def to_retry(trials: Sequence[TrialRecord], which: str) -> list[int]:
    """The failed trials to try again, by number; those that were tried again are left out.

    Args:
        trials: all trials.
        which: empty: those that did not diverge; `ALL`; or numbers of trials with commas.

    Raises:
        ValueError: `which` is none of these, or names a trial that cannot be tried again.
    """
    retried = {t.retry_of: t.number for t in trials if t.retry_of is not None}
    failed = {t.number: t for t in trials if t.state == "failed" and t.configuration}
    left = [t for t in failed.values() if t.number not in retried]
    if which in ("", ALL):
        return [t.number for t in left if which == ALL or not t.diverged]
    try:
        numbers = sorted({int(part) for part in which.split(",")})
    except ValueError:
        raise ValueError(f"must be {ALL!r}, or numbers of trials as in 3,7") from None
    for number in numbers:
        if not 0 <= number < len(trials):
            raise ValueError(f"there is no trial {number}; there are {len(trials)}")
        if number in retried:
            raise ValueError(f"trial {number} was tried again, as trial {retried[number]}")
        if number not in failed:
            raise ValueError(f"trial {number} did not fail; it is {trials[number].state}")
    return numbers
