"""The process's own input and output: always open, fit for every character, never in the way.

A command may be started without standard streams (`>&-`, cron, a daemon), write to a terminal or a
pipe that cannot encode every character, to a reader that has gone (`| head`) or to a full disk.
None of these ends it: what cannot be written is dropped, and `lost_output` says why.
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
"""Name of the way in which characters are written that the encoding lacks."""


def own_streams() -> None:
    """Make the three standard streams usable, unless a caller has put others in their place.

    Anything that is opened earlier may take the number of a stream that is closed.
    """
    codecs.register_error(_ERRORS, _encodable)
    for size in ("COLUMNS", "LINES"):  # 0 stands for unknown; rich would print nothing into it
        if os.environ.get(size) == "0":
            del os.environ[size]
    if sys.stdin is None:
        sys.stdin = open(_nowhere(), encoding="utf-8")  # noqa: SIM115 - a descriptor
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _wrapped(stream, name))


def lost_output() -> OSError | None:
    """Why standard output took no more; None as long as it takes everything."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Output) else None


class _Output(io.FileIO):
    """A descriptor that drops what it cannot write.

    Attributes:
        lost: why it wrote no more; None as long as it writes.
    """

    lost: OSError | None = None

    def write(self, content: ReadableBuffer, /) -> int:
        """Write some of the bytes, or drop them all; how many are dealt with."""
        while self.lost is None:
            try:
                # Untyped: a descriptor that never blocks (a pipe of some terminals) gives None.
                written: Any = super().write(content)
                if written is not None:
                    return int(written)
                select.select([], [self], [])
            except OSError as error:
                self.lost = error
        return memoryview(content).nbytes


def _wrapped(stream: TextIO | None, name: str) -> TextIO:
    """A text stream on the same descriptor, or on nowhere when there was none."""
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
    """/dev/null, for children too; of all free descriptors the lowest, so the one that is closed.

    Left closed, the next file that anything opens would get its number, and what a library prints
    would be written into that file.
    """
    number = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(number, True)
    return number


def _encodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """The next character that cannot be encoded, in another form, and where to go on.

    Bytes of a file name that are no text are written as they are. A letter or digit is escaped as
    in Python's strings, because names must stay different; any other sign becomes `?`.
    """
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return bytes([ord(character) - 0xDC00]), error.start + 1
    escaped = character.encode("ascii", "backslashreplace").decode()
    return escaped if character.isalnum() else "?", error.start + 1
