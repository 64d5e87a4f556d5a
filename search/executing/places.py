"""Where jobs run, and for how long; needs neither Ray nor torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a job ran.

    Attributes:
        host: name of the machine.
        node_id: Ray's id of the node on a joined cluster, which tells hosts of one name apart;
            empty on a local Ray, whose one node gets another id in every call.
        device: in words, such as "cuda 0".
        seconds: from the beginning of the training there to the job's end, by the driver's clock;
            0 while it runs.
    """

    host: str
    node_id: str
    device: str
    seconds: float = 0.0


def place_from(raw: Mapping[str, Any] | None) -> Place | None:
    """The inverse of `dataclasses.asdict`; None for None, which earlier versions wrote.

    Raises:
        TypeError: `raw` has other fields.
    """
    return None if raw is None else Place(**raw)


class Stays:
    """The places of open jobs.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, tuple[Place, float]] = {}

    def begin(self, name: str, place: Place) -> None:
        """The job of this name begins at a place."""
        self._open[name] = place, self._clock()

    def end(self, name: str) -> Place | None:
        """The job ends; its place with the seconds there, or None if it had not begun."""
        found = self._open.pop(name, None)
        if found is None:
            return None
        place, begun = found
        return replace(place, seconds=round(self._clock() - begun, 3))
