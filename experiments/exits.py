"""What is the user's to mend in the command, and what the machine's: exit codes and lines.

Exit code 2 is wrong input: something that the user named is missing, or cannot be used as it is.
Exit code 75 is an interruption: the same command goes on once the machine is able to.
"""

from __future__ import annotations

import os
import re

WRONG_INPUT, INTERRUPTED = 2, 75


class Interrupted(Exception):  # noqa: N818, named by its cause
    """The machine keeps a run from going on; the message says in one line what is wrong."""


def told(error: OSError) -> str:
    """The file, where the error names one, and what is wrong with it, in one line."""
    said = error.strerror or str(error) or type(error).__name__
    file = error.filename
    if isinstance(file, bytes):
        file = os.fsdecode(file)
    return said if file is None or isinstance(file, int) else f"{file}: {said}"


def escaped(text: str) -> str:
    r"""With control characters written out (`\n`), as a file name may hold them."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)
