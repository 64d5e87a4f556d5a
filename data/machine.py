"""Whether an error of the system is the machine's fault, or of what the user named."""

from __future__ import annotations

import errno
import socket

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


def is_machine(error: OSError) -> bool:
    """Whether the machine is at fault, so that the same command may do later.

    A file that is missing, of the wrong kind or not permitted is not: that is what was named.
    """
    passing = (ConnectionError, TimeoutError, socket.gaierror)
    return isinstance(error, passing) or error.errno in _MACHINE
