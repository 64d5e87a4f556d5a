"""Watches Ray and the signals while a cluster is in use, so that the driver never hangs.

Without Ray's processes, many of Ray's calls wait for a minute and then abort the driver. A thread
of its own notices the loss. The search then ends in order, if the main thread is in Ray Tune's
loop. If it is in a call that does not return, the thread ends the process. Nothing is lost by
that: the run's files bear the driver's death at any moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

from shiftsearch.search.executing.signals import ENDING, can_handle

_LOG = logging.getLogger(__name__)

EVERY = 0.5
"""Seconds between two looks at Ray."""
PATIENCE_LOST, PATIENCE_SIGNAL = 15.0, 40.0
"""Seconds in which the main thread must end after Ray was lost, and after a first signal."""
SAME = 1.0
"""Seconds in which a further signal counts as the first one: a terminal that is closed and a
batch system send several."""

EndAtOnce = Callable[[str], None]
"""Ends this process; the argument says why, in one line."""


class RayLost(BaseException):
    """A process that every job needs has ended; the message is one line.

    Not an Exception, because Ray Tune would first clean up, and wait for that process.
    """


class Watch:
    """A context manager around the use of a cluster.

    Args:
        lost: returns why Ray cannot be used any more, in one line; empty while it can.
        end: ends this process at once, called from a thread of its own; None if this process is
            not the command's own. Then signals are not watched, and a hanging call hangs.
    """

    def __init__(self, lost: Callable[[], str], end: EndAtOnce | None = None) -> None:
        self._look, self._end = lost, end
        self._lost, self._looks = "", True
        self._first: float | None = None  # when the first signal came
        self._deadline, self._reason = float("inf"), ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._read = self._write = self._before = -1

    def __enter__(self) -> Watch:
        if self._end is not None and can_handle():
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            # The handlers of signals run only when the main thread is not in a call of Ray's.
            self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(timeout=2 * EVERY)
        if self._read >= 0:
            signal.set_wakeup_fd(self._before)
            os.close(self._read)
            os.close(self._write)

    def check(self) -> None:
        """Called by the main thread in every step of Ray Tune's loop.

        Raises:
            RayLost: Ray cannot be used any more.
        """
        if self._is_lost():
            raise RayLost(self._lost)

    def ray_ends(self) -> bool:
        """Ray is about to be ended on purpose, which is no loss; returns whether it was lost."""
        self._looks = False
        return bool(self._lost)

    def _run(self) -> None:
        while not self._over.is_set():
            for number in self._signals():
                self._came(number)
            if self._looks:
                self._is_lost()
            if time.monotonic() >= self._deadline and not self._over.is_set():
                self._end_now(self._reason)

    def _is_lost(self) -> bool:
        found = self._lost or self._look()
        if found and not self._lost and self._looks:
            self._lost = found
            self._end_within(PATIENCE_LOST, found)
        return bool(self._lost)

    def _signals(self) -> bytes:
        """The numbers of the signals that came; waits `EVERY` seconds for one."""
        if self._read < 0:
            self._over.wait(EVERY)
            return b""
        ready, _, _ = select.select([self._read], [], [], EVERY)
        return os.read(self._read, 100) if ready else b""

    def _came(self, number: int) -> None:
        if number not in ENDING:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._end_within(PATIENCE_SIGNAL, "Ray did not end after a signal")
        elif now - self._first >= SAME:
            self._end_now("a second signal came")

    def _end_within(self, seconds: float, reason: str) -> None:
        deadline = time.monotonic() + seconds
        if deadline < self._deadline:
            self._deadline, self._reason = deadline, reason

    def _end_now(self, reason: str) -> None:
        if self._end is not None:
            self._end(reason)
        self._deadline = float("inf")


_current: list[Watch] = []
"""The watch of the connected cluster; a process has at most one."""


@contextlib.contextmanager
def watched(lost: Callable[[], str], end: EndAtOnce | None) -> Iterator[Watch]:
    """Watch the connected cluster; see `Watch`."""
    with Watch(lost, end) as watch:
        _current.append(watch)
        try:
            yield watch
        finally:
            _current.remove(watch)


def check_alive() -> None:
    """`Watch.check` of the connected cluster."""
    for watch in _current:
        watch.check()
