"""The number formats (dtypes) in which the trials of a study were computed.

With `dtype: auto` every machine chooses its own, so the dtype may change if a run is continued on
another machine. It is recorded, but not as part of the study's identity: a change is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator

from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.stored_study import StoredStudy


class Formats:
    """The dtypes used so far, in the order of their first use.

    Args:
        stored: the study. If it was made by a version that recorded no dtypes, they are read from
            the environments of its trials.
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
        """All dtypes used so far."""
        return tuple(self._seen)

    def note(self, dtype: str) -> bool:
        """Record that trials are computed in `dtype`; returns whether it is new."""
        if dtype in self._seen:
            return False
        self._seen.append(dtype)
        self._stored.note("dtypes", self._seen)
        return True


def dtypes_of(result: ProtocolResult | None) -> Iterator[str]:
    """The dtype of each stage of a result that recorded one."""
    for stage in () if result is None else (result.baseline, result.fine_tune):
        if "dtype" in stage.environment:
            yield str(stage.environment["dtype"])
