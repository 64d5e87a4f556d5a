"""The study's journal file: one driver writes it under a lock, anyone reads it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from optuna.storages import JournalStorage
from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileSymlinkLock,
)


class RunLocked(RuntimeError):  # noqa: N818, named by its cause
    """Another process writes this run; the message names it and what it does."""


class RunLock:
    """The run's own lock: held by who writes it, freed by the kernel however that process dies.

    flock works on local disks and on NFS from version 4; on a file system without it, taking the
    lock raises OSError.

    Args:
        path: of the lock's file.
        work: what is done under it, in words: "a search".
    """

    def __init__(self, path: Path, work: str = "a search") -> None:
        self._path, self._work = path, work
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock or raise `RunLocked` at once."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            process, _, work = (file.read().strip() or "unknown").partition(": ")
            file.close()
            raise RunLocked(
                f"{self._path.parent}: {work or 'a search'} is at work on this run (process"
                f" {process}); wait for its end"
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


class _NoLock(JournalFileSymlinkLock):
    """The journal's lock under the run's own lock: nothing to do.

    Optuna's default, a symbolic link, survives the death of its owner (the next start then waits
    30 s), and with a relative path spins for ever.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def open_journal(path: Path) -> JournalStorage:
    """The storage over a journal file; the caller holds the run's lock.

    An unfinished last line (full disk, power cut) is cut off first: left alone, the second write
    after it would make the whole study unreadable.
    """
    path = path.absolute()
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=_NoLock(str(path))))


class _Snapshot(BaseJournalBackend):
    """The whole lines of a journal as they were at one moment; nothing can be written."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        # What follows the last line break is being written, or was when its driver died.
        self._lines = content[: content.rfind(b"\n") + 1].splitlines()

    def read_logs(self, log_number_from: int) -> Sequence[dict[str, Any]]:
        return [json.loads(line) for line in self._lines[log_number_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise PermissionError("the journal was opened to be read")


def read_journal(path: Path) -> JournalStorage:
    """The storage as it is now, for readers without the lock: never cuts, creates or writes.

    A driver may write meanwhile; its next lines are not seen.

    Raises:
        OSError: the file cannot be read.
        ValueError: a whole line of it is damaged.
    """
    return JournalStorage(_Snapshot(path))
