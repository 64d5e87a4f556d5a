"""Whether a run's folder is the same folder on every machine, and can be used there.

The driver lays a few files into a folder of its own beside or in the run's, each node looks at
them and adds one, and the driver looks at that. Everything is removed afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shiftsearch.data.cache import open_pack, save_pack
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.data.os_errors import in_words, said
from shiftsearch.experiments.doctor.finding import Finding

LATE = 5.0
"""Seconds to wait until a file of another machine is seen."""
SLOW = 1.0
_SEEN, _LOCK, _PACK = "seen", "lock", "dataset"
_NAME = ".shiftsearch-doctor-"


@dataclass(frozen=True)
class Look:
    """What a node saw of the folder.

    Attributes:
        problem: why it cannot be used, in one line; empty if it can.
        written: the text that the node wrote there.
        locked: whether the driver's lock was seen: True or False, or None if locks failed.
        digest: of the packed data; empty if there was none, or with `data_problem`.
        data_problem: why the data cannot be read.
    """

    problem: str = ""
    written: str = ""
    locked: bool | None = None
    digest: str = ""
    data_problem: str = ""


class Meeting:
    """The driver's side: a folder in which driver and nodes meet.

    Attributes:
        folder: path of the folder, absolute.
        word: what it wrote there for the nodes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.word = folder, secrets.token_hex(8)
        (folder / _SEEN).write_text(self.word, encoding="ascii")
        self._lock = (folder / _LOCK).open("w", encoding="ascii")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def lay(self, dataset: Dataset) -> None:
        """Pack a dataset there for the nodes."""
        save_pack(dataset, self.folder / _PACK)

    def judge(self, name: str, look: Look) -> Finding:
        """What a node's look shows; waits for its file."""
        check = "run folder"
        if look.problem:
            advice = "mount the same folder on every node, writable; see experiments/cluster"
            return Finding(check, "FAIL", look.problem, advice)
        seconds = self._arrival(name, look.written)
        if seconds is None:
            said = f"what it wrote was not seen here within {LATE:.0f} s"
            return Finding(check, "FAIL", said, "it is another folder, or use a faster one")
        if look.locked is None or not look.locked:
            said = "seen, written and read back, but a lock held here is not seen there"
            return Finding(check, "WARN", said, "start the search on one machine only")
        if seconds > SLOW:
            said = f"files are seen after {seconds:.1f} s"
            return Finding(check, "WARN", said, "use a faster shared folder if you can")
        return Finding(check, "PASS", "seen, written, locked and read back")

    def close(self) -> None:
        """Free the lock."""
        self._lock.close()

    def _arrival(self, name: str, text: str) -> float | None:
        """Seconds until the node's file is seen with its text; None if that takes too long."""
        begin = time.monotonic()
        while (waited := time.monotonic() - begin) < LATE:
            with contextlib.suppress(OSError):
                list(self.folder.iterdir())  # makes some file servers look again
                if (self.folder / name).read_text(encoding="ascii") == text:
                    return waited
            time.sleep(0.05)
        return None


@contextlib.contextmanager
def meeting(run: Path) -> Iterator[Meeting]:
    """Make a folder in the run's folder, or in the nearest one above it that exists.

    Raises:
        OSError: it cannot be written or locked there; the error names the file.
    """
    anchor = run
    while not anchor.exists():
        anchor = anchor.parent
    folder = anchor / f"{_NAME}{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    opened = None
    try:
        opened = Meeting(folder)
        yield opened
    finally:
        if opened is not None:
            opened.close()
        shutil.rmtree(folder, ignore_errors=True)


def look(folder: str, word: str, name: str, pack: str) -> Look:
    """A node's side: see, write, lock and read.

    Args:
        folder: that of the meeting.
        word: what the driver wrote there.
        name: of the file that the node writes, unique among the nodes.
        pack: folder of the packed data; empty: none is read.
    """
    here, text = Path(folder), secrets.token_hex(8)
    if (problem := _unseen(here, word)) or (problem := _unwritten(here / name, text)):
        return Look(problem)
    locked = _locked(here / _LOCK)
    if not pack:
        return Look("", text, locked)
    try:
        dataset = open_pack(Path(pack))
        digest = Dataset(dataset.classes, dataset.splits).digest
    except (DataError, OSError) as error:
        return Look("", text, locked, data_problem=str(error))
    return Look("", text, locked, digest)


def pack_of(folder: Path) -> Path:
    """Where `Meeting.lay` puts the data."""
    return folder / _PACK


def _unseen(folder: Path, word: str) -> str:
    begin = time.monotonic()
    while True:
        try:
            found = (folder / _SEEN).read_text(encoding="ascii")
            return "" if found == word else f"{folder.parent}: is another folder there"
        except OSError as error:
            if time.monotonic() - begin > LATE or not folder.parent.is_dir():
                return f"{folder.parent}: is not seen there ({said(error)})"
        time.sleep(0.05)


def _unwritten(file: Path, text: str) -> str:
    try:
        with file.open("w", encoding="ascii") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        if file.read_text(encoding="ascii") == text:
            return ""
    except OSError as error:
        return f"cannot be written there ({in_words(error)})"
    return f"{file.parent.parent}: a file that is written there reads back changed"


def _locked(file: Path) -> bool | None:
    """Whether someone else holds the lock; None if the file system has no locks."""
    try:
        with file.open("r+", encoding="ascii") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
