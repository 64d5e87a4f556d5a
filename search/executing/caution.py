"""What is held back after workers were lost.

For a while no job begins, and after memory ran out fewer run at once. A job is handed out again
only a few times. Without a pause, a minute in which another program takes the memory would use
them all up, and jobs that together need too much memory would go on killing each other.
"""

from __future__ import annotations

import time

PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds without a new job after a lost worker; each further loss takes the next longer pause,
and the last one is repeated."""
MEMORY_PAUSES = (15.0, 30.0, 60.0)
"""The same, if memory ran out."""


class Caution:
    """Counts losses, and jobs that ended otherwise."""

    def __init__(self) -> None:
        self._in_a_row, self._until, self._of_memory = 0, 0.0, False
        self._most: int | None = None
        self._ended = 0  # since `_most` was changed

    @property
    def pause(self) -> float:
        """Seconds for which no job may begin; 0 or less: none."""
        return self._until - time.monotonic()

    def at_once(self, number: int) -> int:
        """How many of a number of jobs may run at once."""
        return number if self._most is None else min(number, self._most)

    def lost(self, memory: bool, left: int) -> None:
        """A worker was lost.

        Losses in a pause count as the same event, of memory if the first one was. After memory
        ran out, as many jobs run at once as were left, and one more whenever so many have ended.

        Args:
            memory: whether memory ran out.
            left: number of jobs that still run.
        """
        paused = self.pause > 0
        memory = memory or (paused and self._of_memory)
        if not paused:
            self._in_a_row += 1
        if memory:
            self._most, self._ended = max(1, self.at_once(left)), 0
        if memory or not paused:
            pauses = MEMORY_PAUSES if memory else PAUSES
            seconds = pauses[min(self._in_a_row, len(pauses)) - 1]
            self._until, self._of_memory = time.monotonic() + seconds, memory

    def ended(self, begun: float) -> None:
        """A job has ended otherwise, so its worker has reported.

        Args:
            begun: when it was handed out, by `time.monotonic`.
        """
        if begun < self._until:  # it says nothing of what came after the last loss
            return
        self._in_a_row = 0
        if self._most is not None:
            self._ended += 1
            if self._ended >= self._most:
                self._most, self._ended = self._most + 1, 0
