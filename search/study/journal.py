"""The study's journal file: one driver writes it under a lock, anyone reads it."""

from __future__ import annotations

import fcntl
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from shiftsearch.data.problems import ProblemsError

_DAMAGED = (AssertionError, LookupError, TypeError, ValueError, RecursionError)
"""What Optuna raises for lines that it did not write."""


class StudyDamaged(ProblemsError):  # noqa: N818, named by its cause
    """The run's journal cannot be read; one line with the path, the line number and the reason."""


class RunLocked(RuntimeError):  # noqa: N818, named by its cause
    """Another process is writing to this run; the message names the process and its work."""


class RunLock:
    """The lock of a run, held by the one process that writes to it.

    The kernel frees it when that process ends in any way. It uses flock, which works on local
    disks and on NFS from version 4; on a file system without it, taking the lock raises OSError.

    Args:
        path: the lock file.
        work: what the process does, in words, such as "a search".
    """

    def __init__(self, path: Path, work: str = "a search") -> None:
        self._path, self._work = path, work
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunLocked: another process holds it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            process, _, work = (file.read().strip() or "unknown").partition(": ")
            file.close()
            raise RunLocked(
                f"{self._path.parent}: {work or 'a search'} is using this run (process {process});"
                " wait until it has ended"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}: {self._work}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Free the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None


class _OwnFile(BaseJournalBackend):
    """A journal file for the one process that writes to it; it holds the run's lock.

    Not Optuna's `JournalFileBackend`, which reads each line again from the file, keeps the place
    of each, and forces each to the disk by itself, 22 of a trial. Its default lock is a symbolic
    link, which stays when its owner dies, so that the next start waits 30 s.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self._unread = deque(_whole_lines(path))
        self._unwritten: list[bytes] | None = None  # inside `together`
        self._failed: OSError | None = None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines that were not read yet; Optuna asks for no others."""
        while self._unread:
            yield json.loads(self._unread.popleft())

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines, inside `together` at its end; after a failed write raise its error."""
        if self._failed is not None:  # what is known here may be more than what the file holds
            raise self._failed
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        if self._unwritten is None:
            self._write(lines)
        else:
            self._unwritten += lines
        self._unread.extend(lines)

    @contextmanager
    def together(self) -> Iterator[None]:
        """See `OwnJournal.together`; also after an error, because Optuna knows the lines."""
        if self._unwritten is not None:
            yield
            return
        lines = self._unwritten = list[bytes]()
        try:
            yield
        finally:
            self._unwritten = None
            self._write(lines)

    def _write(self, lines: Sequence[bytes]) -> None:
        if lines:
            try:
                with self._path.open("ab") as file:
                    file.write(b"\n".join([*lines, b""]))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                self._failed = error
                raise


class OwnJournal(JournalStorage):
    """The journal of the process that writes to it."""

    def __init__(self, path: Path) -> None:
        self._file = _OwnFile(path)
        super().__init__(self._file)

    def together(self) -> AbstractContextManager[None]:
        """Inside, what is written goes to the disk at the end, as one."""
        return self._file.together()


def open_journal(path: Path) -> OwnJournal:
    """Open a journal file for reading and writing; the caller holds the run's lock.

    An unfinished last line (full disk, power cut) and NUL bytes at the end (power cut) are cut off
    first. Otherwise the second write after them would make the whole study unreadable.
    """
    path = path.absolute()
    if path.exists():
        content = path.read_bytes()
        whole = _whole(content)
        if whole < len(content):
            os.truncate(path, whole)
    return OwnJournal(path)


def _whole_lines(path: Path) -> list[bytes]:
    """The complete lines of a journal.

    Text after the last line break is unfinished: it is being written, or its driver died.
    """
    content = path.read_bytes()
    return whole_part(content).split(b"\n")[:-1]


def whole_part(content: bytes) -> bytes:
    """The complete lines of a journal's content."""
    return content[: _whole(content)]


def _whole(content: bytes) -> int:
    """The number of bytes up to the end of the last complete line that is not only NUL bytes."""
    end = len(content.rstrip(b"\0\n"))
    return end + 1 if content[end : end + 1] == b"\n" else content.rfind(b"\n", 0, end) + 1


class _Snapshot(BaseJournalBackend):
    """The complete lines of a journal at one moment, read-only."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines

    def read_logs(self, log_number_from: int) -> Sequence[dict[str, Any]]:
        return [json.loads(line) for line in self._lines[log_number_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise PermissionError("the journal was opened to be read")


def read_journal(path: Path) -> JournalStorage:
    """Read a journal file as it is now; needs no lock and never changes the file.

    Lines that a driver writes later are not seen.

    Raises:
        OSError: the file cannot be read.
        AssertionError, LookupError, TypeError, ValueError: a complete line of it is damaged; use
            `readable`.
    """
    return JournalStorage(_Snapshot(_whole_lines(path)))


@contextmanager
def readable(path: Path | None) -> Iterator[None]:
    """Turn what Optuna raises for a damaged journal into `StudyDamaged`.

    Raises:
        StudyDamaged: the journal at `path`, which is read inside, is damaged.
    """
    try:
        yield
    except _DAMAGED as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        number = None if path is None else _first_damaged(path)
        if number is None:
            raise StudyDamaged([f"{path}: is damaged ({reason})"]) from None
        raise StudyDamaged(
            [
                f"{path}, line {number}: is damaged ({reason}); restore the file, or keep only "
                "the lines before it: the trials in them go on"
            ]
        ) from None


def _first_damaged(path: Path) -> int | None:
    """The number of the first line, from 1, with which the journal cannot be read; else None."""
    lines = _whole_lines(path)
    good, bad = 0, len(lines) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            JournalStorage(_Snapshot(lines[:middle]))
        except _DAMAGED:
            bad = middle
        else:
            good = middle
    return bad if bad <= len(lines) else None
