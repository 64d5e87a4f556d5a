"""Which number formats the trials of a study were computed in: its dtypes.

With `dtype: auto` every machine chooses for itself, so a run that goes on elsewhere may change
from one to another. That is recorded beside the study's identity, not in it: it refuses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.stored_study import StoredStudy


class Formats:
    """The dtypes that were chosen so far, in the order of their first use.

    Args:
        stored: the study; trials of a version that recorded nothing tell by their environments.
    """

    def __init__(self, stored: StoredStudy) -> None:
        self._stored = stored
        self._seen: list[str] = list(stored.attribute("dtypes") or ())
        for record in stored.records:
            for dtype in dtypes_of(record.result):
                if dtype not in self._seen:
                    self._seen.append(dtype)

    @property
    def seen(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._seen)

    def note(self, dtype: str) -> bool:
        """Record that trials are computed in `dtype`; whether that is new."""
        if dtype in self._seen:
            return False
        self._seen.append(dtype)
        self._stored.note("dtypes", self._seen)
        return True


def dtypes_of(result: ProtocolResult | None) -> Iterator[str]:
    """Of the stages of a result, as far as it says."""
    for stage in () if result is None else (result.baseline, result.fine_tune):
        if "dtype" in stage.environment:
            yield str(stage.environment["dtype"])
