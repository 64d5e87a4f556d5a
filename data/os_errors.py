"""Errors of the operating system: whether the machine is at fault, and a message in one line."""

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
        # a network or a mounted folder that is unavailable
        *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN"),
        *("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ENOLINK", "ECOMM"),
    )
    if hasattr(errno, name)
)


def is_machine(error: OSError) -> bool:
    """Whether the machine is at fault, so that the same command may succeed later.

    A file that is missing, of the wrong kind or not permitted is the user's fault.
    """
    passing = (ConnectionError, TimeoutError, socket.gaierror)
    return isinstance(error, passing) or error.errno in _MACHINE


def lacks_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch and oneDNN have no exception type for that of the CPU."""
    signs = ("DefaultCPUAllocator", "could not create a primitive")
    return isinstance(error, MemoryError) or (
        type(error) is RuntimeError and any(sign in str(error) for sign in signs)
    )


def in_words(error: OSError) -> str:
    """The error in one line, with the file if the error names one."""
    file = error.filename
    if isinstance(file, bytes):
        file = os.fsdecode(file)
    return said(error) if file is None or isinstance(file, int) else f"{file}: {said(error)}"


def fault_in(path: str | Path, error: OSError) -> str:
    """What is wrong with a file that the user gave, in one line without the file's name.

    Raises:
        OSError: the machine is at fault; it is `error`, with the file's name set.
    """
    if is_machine(error):
        name_file(error, path)  # reading from an open file names none
        raise error
    return said(error)


def name_file(error: OSError, path: str | Path) -> None:
    """Set the file that an error names.

    An error without a number has only its text, and is left as it is.
    """
    if error.errno is not None:
        error.filename, error.filename2 = str(path), None


def said(error: OSError) -> str:
    """The system's message, without the file."""
    lines = [line.strip() for line in str(error).splitlines()]
    return error.strerror or next(filter(None, lines), type(error).__name__)
