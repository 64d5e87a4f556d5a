"""SIGINT, SIGTERM and SIGHUP end Ray Tune calmly, however often they come."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl+C; a batch system's or a container's end; a terminal that is closed."""


@contextlib.contextmanager
def ended_calmly() -> Iterator[threading.Event]:
    """Let Ray Tune end its loop at the first signal, and take no notice of further ones.

    Ray listens to SIGUSR1 for that, and to SIGINT unless TUNE_DISABLE_SIGINT_HANDLER is set: its
    handler of SIGINT lets a second Ctrl+C through, in the middle of writing what is left.

    Yields:
        set once a signal has come.
    """
    came = threading.Event()

    def forward(number: int, frame: object) -> None:
        del number, frame
        came.set()
        signal.raise_signal(signal.SIGUSR1)

    before = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGUSR1)}
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Ray listens
    for number in _ENDING:
        # nohup ignores SIGHUP for good. A shell ignores SIGINT for what it starts in the
        # background; there it comes only from somebody who means this process.
        if number != signal.SIGHUP or before[number] is not signal.SIG_IGN:
            signal.signal(number, forward)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Finish something short, such as ending Ray's processes, before a signal is heard."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
