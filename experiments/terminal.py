"""Standard input and output that never end the command.

A command may be started without standard streams (`>&-`, cron, a daemon), or write to a terminal
or pipe that cannot encode every character, to a reader that has gone (`| head`) or to a full disk.
None of these ends it. Text that cannot be written is dropped, and `lost_output` says why.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ERRORS = "shiftsearch"
"""Name of the error handler for characters that the encoding lacks."""


def own_streams() -> None:
    """Make the three standard streams usable, unless a caller has replaced them.

    Call this first: a file that is opened before may get the descriptor of a closed stream.
    """
    codecs.register_error(_ERRORS, _encodable)
    for size in ("COLUMNS", "LINES"):  # 0 means unknown; rich would take it as the size
        if os.environ.get(size) == "0":
            del os.environ[size]
    if sys.stdin is None:
        sys.stdin = open(_nowhere(), encoding="utf-8")  # noqa: SIM115 - a descriptor
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _wrapped(stream, name))


def lost_output() -> OSError | None:
    """Why output to standard output was lost; None if nothing was lost."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Output) else None


class _Output(io.FileIO):
    """A file descriptor that drops what it cannot write.

    Attributes:
        lost: the first error, after which everything is dropped; None before.
    """

    lost: OSError | None = None

    def write(self, content: ReadableBuffer, /) -> int:
        """Write some of the bytes, or drop them all; returns the number written or dropped."""
        while self.lost is None:
            try:
                # Any, because a non-blocking descriptor (some terminals' pipes) returns None.
                written: Any = super().write(content)
                if written is not None:
                    return int(written)
                select.select([], [self], [])
            except OSError as error:
                self.lost = error
        return memoryview(content).nbytes


def _wrapped(stream: TextIO | None, name: str) -> TextIO:
    """A text stream on the same descriptor, or on /dev/null if there was none."""
    if stream is None:
        number, encoding, write_through = _nowhere(), "utf-8", False
    else:
        stream.flush()
        number, encoding = stream.fileno(), stream.encoding
        write_through = bool(getattr(stream, "write_through", False))
    raw = _Output(number, "w", closefd=False)
    raw.name = f"<{name}>"
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors=_ERRORS,
        line_buffering=name == "stderr" or raw.isatty(),
        write_through=write_through,
    )


def _nowhere() -> int:
    """A descriptor of /dev/null, which child processes inherit.

    It is the lowest free descriptor, so the one of the closed stream. Otherwise the next file that
    is opened would get this number, and output of libraries would be written into that file.
    """
    number = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(number, True)
    return number


def _encodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """A replacement for the next character that cannot be encoded, and the position after it.

    Bytes of a file name that are not text are written unchanged. A letter or digit is escaped as
    in Python's strings, so that different names stay different. Any other character becomes `?`.
    """
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return bytes([ord(character) - 0xDC00]), error.start + 1
    escaped = character.encode("ascii", "backslashreplace").decode()
    return escaped if character.isalnum() else "?", error.start + 1
