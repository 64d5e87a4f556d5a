"""SIGINT, SIGTERM and SIGHUP end Ray Tune in order, also if they come several times."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    if not can_handle():
        yield came
        return

    def forward(number: int, frame: object) -> None:
        del number, frame
        came.set()
        signal.raise_signal(signal.SIGUSR1)

    ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with restored(*ENDING, signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Ray sets its handler
        for number in ENDING:
            # SIGHUP stays ignored under nohup. SIGINT does not, although a shell makes background
            # processes ignore it: there it was sent to this process on purpose.
            if number != signal.SIGHUP or not ignores_hangup:
                signal.signal(number, forward)
        yield came


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Ignore signals during something short, such as ending Ray's processes."""
    with restored(*ENDING):
        for number in ENDING if can_handle() else ():
            # Not SIG_IGN: `search.executing.watch` must hear of signals that are ignored here.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        yield


@contextlib.contextmanager
def restored(*numbers: int) -> Iterator[None]:
    """Give these signals their present handlers back at the end."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items() if can_handle() else ():
            signal.signal(number, handler)


def can_handle() -> bool:
    """Whether this is the main thread: Python lets no other one set handlers."""
    return threading.current_thread() is threading.main_thread()
