"""The process of the command `shiftsearch`: no signal shows a traceback, from first to last.

The imports of the command line take a quarter of a second, on a busy machine seconds. A signal in
that time ends the process at once, because nothing has begun. After the command, while Python
ends, a signal changes nothing: the exit code is the command's.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from shiftsearch.experiments.exits import DEFECT, INTERRUPTED, interruption

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object]


def run() -> int:
    """Run the command of this process; returns its exit code."""
    atexit.register(_handle, signal.SIG_IGN)  # the last thing that Python calls when it ends
    _handle(_end)
    from shiftsearch.experiments.cli import main

    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = _told(main)
    _handle(lambda *_: os._exit(code))  # a thread or a library that does not end
    return code


def _told(main: Callable[[], int]) -> int:
    """The command's exit code; an exception that it does not know is a defect."""
    try:
        return main()
    except KeyboardInterrupt:  # a second one, while the first was told
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        sys.stderr.write("this is a defect of shiftsearch; please report it with these lines\n")
        return DEFECT


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    os.write(2, f"{interruption()}\n".encode())
    os._exit(INTERRUPTED)


def _handle(handler: _Handler | signal.Handlers) -> None:
    """Set the handler of the signals that are not ignored."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(run())
