"""How many jobs run at once: as on the machines of the cluster, also when these change."""

from __future__ import annotations

import time
from collections.abc import Callable

from shiftsearch.search.executing.resources import ResourceError, Resources

EVERY = 2.0
"""Seconds between two looks at the cluster's nodes."""


class Concurrency:
    """The number of jobs at once.

    Args:
        resources: as they were fitted at first.
        fit: fits resources to the nodes that the cluster has now; None: the number is fixed.
        changed: called with new resources when the number has changed.
        clock: returns the time in seconds.

    Attributes:
        number: jobs at once; at least 1, so that one waits for a node if none is left.
        fixed: whether it never changes.
    """

    def __init__(
        self,
        resources: Resources,
        fit: Callable[[], Resources] | None = None,
        changed: Callable[[Resources], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number, self.fixed = resources.concurrency, fit is None
        self._fit, self._changed = fit, changed
        self._resources, self._clock, self._looked = resources, clock, clock()

    def look(self) -> None:
        """Follow the cluster; called in every step of the driver, looks every `EVERY` seconds."""
        if self._fit is None or self._clock() - self._looked < EVERY:
            return
        self._looked = self._clock()
        try:
            now = self._fit()
        except ResourceError as error:
            first = self._resources
            now = Resources(
                first.cpus_per_trial,
                first.gpus_per_trial,
                1,
                f"1 trial waits for a node: {error}",
            )
        if now.concurrency != self.number:
            self.number = now.concurrency
            self._changed(now)
