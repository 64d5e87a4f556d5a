"""What is the user's to mend in the command, and what the machine's: exit codes and lines.

Exit code 2 is wrong input: something that the user named is missing, or cannot be used as it is.
Exit code 75 is an interruption: the same command goes on once the machine is able to.
"""

from __future__ import annotations

import errno
import os
import re
import socket

DONE, WRONG_INPUT, TOO_MANY_FAILURES, INTERRUPTED = 0, 2, 3, 75

_MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        # no room, or a device or a file server that fails
        *("ENOSPC", "EDQUOT", "EIO", "ESTALE", "ENXIO", "ENODEV", "EREMOTEIO", "ENOLCK"),
        # no memory, no more files, processes or time
        *("ENOMEM", "EMFILE", "ENFILE", "EAGAIN", "EBUSY", "ETIMEDOUT"),
        # a network or a mounted folder that is away
        *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN"),
        *("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ENOLINK", "ECOMM"),
    )
    if hasattr(errno, name)
)


class Interrupted(Exception):  # noqa: N818, named by its cause
    """The machine keeps a run from going on; the message says in one line what is wrong."""


def is_machine(error: OSError) -> bool:
    """Whether the machine is at fault, so that the same command may do later.

    A file that is missing, of the wrong kind or not permitted is not: that is what was named.
    """
    passing = (ConnectionError, TimeoutError, socket.gaierror)
    return isinstance(error, passing) or error.errno in _MACHINE


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
