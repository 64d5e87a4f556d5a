"""SIGINT, SIGTERM and SIGHUP end Ray Tune in order, also if they come several times."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl+C; by a batch system or container that ends; by a terminal that is closed."""


@contextlib.contextmanager
def ended_calmly() -> Iterator[threading.Event]:
    """Let Ray Tune end its loop at the first signal, and ignore further ones.

    Ray ends its loop at SIGUSR1, and at SIGINT unless TUNE_DISABLE_SIGINT_HANDLER is set. Its
    handler of SIGINT is not used because it lets a second Ctrl+C interrupt the last writes.

    Yields:
        An event that is set once a signal has come.
    """
    came = threading.Event()

    def forward(number: int, frame: object) -> None:
        del number, frame
        came.set()
        signal.raise_signal(signal.SIGUSR1)

    before = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGUSR1)}
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Ray sets its handler
    for number in _ENDING:
        # SIGHUP stays ignored under nohup. SIGINT does not, although a shell makes background
        # processes ignore it: there it was sent to this process on purpose.
        if number != signal.SIGHUP or before[number] is not signal.SIG_IGN:
            signal.signal(number, forward)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Ignore signals during something short, such as ending Ray's processes."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
