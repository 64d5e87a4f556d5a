"""What a worker says of its job, in few messages.

A message costs the driver 2 to 3 ms of processor time, most of it in Ray, whatever is in it. So
short epochs travel together. Every worker imports this module, which imports little.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

REPORT = "report"
"""The one key of a message, because Ray flattens nested values; its value is JSON text, a list of
reports in order. See `search.executing.trainable.run_job` for the reports."""

EVERY = 2.0
"""Seconds from one message to the next, unless a report cannot wait."""


class Reports:
    """Sends the reports of one job, in order.

    Args:
        to_json: turns values into what JSON knows, as in `json.dumps`.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        to_json: Callable[[Any], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._to_json, self._clock = to_json, clock
        self._waiting: list[str] = []
        self._sent: float | None = None

    def send(self, report: Mapping[str, Any]) -> None:
        """Send a report now, after those that wait; does not return if the driver stops the job.

        Raises:
            ValueError: a number is not finite; the report is dropped.
        """
        self.wait(report)
        message, self._waiting = f"[{','.join(self._waiting)}]", []
        self._sent = self._clock()
        tune.report({REPORT: message})

    def wait(self, report: Mapping[str, Any]) -> None:
        """Send a report with the next one.

        Raises:
            ValueError: as `send`.
        """
        self._waiting.append(json.dumps(report, allow_nan=False, default=self._to_json))

    def later(self, report: Mapping[str, Any]) -> None:
        """Send a report, with the next one if the last message is less than `EVERY` seconds old.

        Raises:
            ValueError: as `send`.
        """
        if self._sent is None or self._clock() - self._sent >= EVERY:
            self.send(report)
        else:
            self.wait(report)
