"""Exit codes.

Exit code 1 means a defect of shiftsearch; its traceback is shown.
Exit code 2 means wrong input: something that the user named is missing or cannot be used.
Exit code 4 means that some of the files to predict could not be read, and the others were
predicted.
Exit code 75 means an interruption: the same command continues when the machine is ready again.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

DONE, DEFECT, WRONG_INPUT, TOO_MANY_FAILURES, SOME_UNREADABLE, INTERRUPTED = 0, 1, 2, 3, 4, 75

_LAST_SECONDS = 5.0


class Interrupted(Exception):  # noqa: N818, named by its cause
    """The run cannot go on because of the machine; the message is one line with the cause."""


def escaped(text: str) -> str:
    r"""The text with control characters, which file names may contain, written as `\n`."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)


def interruption(why: str = "") -> str:
    """The last line of a command that the machine or a person interrupted."""
    return f"interrupted{f': {escaped(why)}' if why else ''}; the same command continues"


def end_at_once(note: Callable[[str], None], why: str) -> NoReturn:
    """End this process from any thread, whatever its main thread waits for.

    Args:
        note: notes in the run why it ended.
        why: one line.
    """
    timer = threading.Timer(_LAST_SECONDS, os._exit, [INTERRUPTED])  # a file system may hang
    timer.daemon = True
    timer.start()
    with contextlib.suppress(Exception):
        note(why)
    with contextlib.suppress(Exception):
        sys.stderr.write(f"{interruption(why)}\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)
