"""What the operating system refuses: whose fault it is, and how it is said in one line."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

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


def in_words(error: OSError) -> str:
    """The file, where the error names one, and what is wrong with it, in one line."""
    file = error.filename
    if isinstance(file, bytes):
        file = os.fsdecode(file)
    return said(error) if file is None or isinstance(file, int) else f"{file}: {said(error)}"


def fault_in(path: str | Path, error: OSError) -> str:
    """What is wrong with a file that the user named, in one line that does not name it.

    Raises:
        OSError: the machine is at fault: `error`, which names the file from now on.
    """
    if is_machine(error):
        name_file(error, path)  # reading from an open file names none
        raise error
    return said(error)


def name_file(error: OSError, path: str | Path) -> None:
    """Have an error name this file, and no other one.

    An error without a number has nothing but its text, and keeps that.
    """
    if error.errno is not None:
        error.filename, error.filename2 = str(path), None


def said(error: OSError) -> str:
    """What the system says, without the file."""
    lines = [line.strip() for line in str(error).splitlines()]
    return error.strerror or next(filter(None, lines), type(error).__name__)
