"""Exit codes.

Exit code 2 means wrong input: something that the user named is missing or cannot be used.
Exit code 4 means that some of the files to predict could not be read, and the others were
predicted.
Exit code 75 means an interruption: the same command continues when the machine is ready again.
"""

from __future__ import annotations

import re

DONE, WRONG_INPUT, TOO_MANY_FAILURES, SOME_UNREADABLE, INTERRUPTED = 0, 2, 3, 4, 75


class Interrupted(Exception):  # noqa: N818, named by its cause
    """The run cannot go on because of the machine; the message is one line with the cause."""


def escaped(text: str) -> str:
    r"""The text with control characters, which file names may contain, written as `\n`."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)
