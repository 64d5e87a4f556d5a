"""The copy of a run's files under its URL, made while the run goes on.

A thread of its own copies what has changed, after each job, every `EVERY` seconds and at the end:
so a slow store delays no trial. The store of stages is there anyway. What concerns the driver
alone is not copied: lock, requests, status, Ray's files.

`looks.json` is copied first, because it counts what is done next, and `result.json` last, because
it says that all else is there. It and the journal are read before all others and written after
them: so the copy has the curves of each trial that has ended in its journal.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from shiftsearch.data.os_errors import in_words
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.storage.claim import STALE, Claim
from shiftsearch.model.remote import RemoteFolder
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place

EVERY, AGAIN = 30.0, 2.0
"""Seconds between two copies while no job ends, and between two attempts while copies fail."""
OWN = ("commands", "looks.lock", "ray", "run.lock", "status.json", "storage.json")
"""What concerns the driver alone."""
THERE = ("drivers", "store", "last-driver.json")
"""What lies under the URL, and is no copy."""
_ONLY_GROW = ("dataset", "network", "tensorboard", "tensorboard-all")
"""Folders whose files are the same if their sizes are."""
_ORDER = {"looks.json": -1, "study.journal": 1, "result.json": 2}
_SHARE = 9
"""A copy is followed by a pause of so many times its own duration."""

_Stamp = tuple[int, int]


class Copying:
    """A `search.executing.jobs.Listener` that keeps the copy up to date.

    Args:
        run: the run.
        there: the folder under its URL.
        claim: the right to write to it.

    Attributes:
        fault: why copies have failed for half of `STALE`, in one line; empty if they have not.
    """

    def __init__(self, run: Run, there: RemoteFolder, claim: Claim) -> None:
        self._run, self._there, self._claim, self.fault = run, there, claim, ""
        self._copied: dict[str, _Stamp | None] = {}
        self._lock = threading.Lock()
        self._over, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="copying", daemon=True)

    def start(self) -> None:
        """Look at what is copied already, and begin.

        Raises:
            OSError: the store does not answer, or refuses.
        """
        here = dict(files_of(self._run.folder))
        for name, found in self._there.files().items():
            if name.split("/")[0] not in THERE:
                stamp = here.get(name)
                same = stamp is not None and found.size == stamp[1]
                self._copied[name] = stamp if same and name.split("/")[0] in _ONLY_GROW else None
        self._thread.start()

    def copy(self) -> None:
        """Copy what has changed, and remove what is gone.

        Raises:
            OSError: it cannot be copied, or another driver has taken over.
        """
        with self._lock:
            self._copy()

    def finish(self) -> None:
        """Copy everything, and end.

        Raises:
            OSError: it cannot be copied, or another driver has taken over.
        """
        self._over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self.copy()

    def started(self, job: Job) -> None:
        """Do nothing."""

    def placed(self, job: Job, place: Place) -> None:
        """Do nothing."""

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Do nothing."""

    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Copy soon."""
        self._wake.set()

    def _go_on(self) -> None:
        failing: float | None = None  # since when
        while not self._over.is_set():
            begin = time.monotonic()
            try:
                self.copy()
            except OSError as error:
                now = time.monotonic()
                failing = now if failing is None else failing
                if now - failing > STALE / 2:
                    self.fault = f"the run's storage is lost: {in_words(error)}"
                    return
                self._over.wait(AGAIN)
            else:
                failing = None
                self._over.wait(_SHARE * (time.monotonic() - begin))
                self._wake.wait(EVERY)
                self._wake.clear()

    def _copy(self) -> None:
        if not self._run.journal.exists():  # not begun, or the folder is gone
            return
        first, read = dict[str, _Stamp](), dict[str, bytes]()
        for path in (self._run.result, self._run.journal):
            if path.exists():
                first |= _stamped(path, self._run.folder)
                read[path.name] = path.read_bytes()
        here = dict(files_of(self._run.folder)) | first
        for name in sorted(here, key=lambda name: (_ORDER.get(name, 0), name)):
            if self._copied.get(name) != here[name]:
                self._check_claim()
                try:
                    content = read.get(name) or (self._run.folder / name).read_bytes()
                except FileNotFoundError:  # moved or replaced meanwhile
                    continue
                self._there.write(name, content)
                self._copied[name] = here[name]
        for name in [*self._copied]:
            if name not in here:
                self._check_claim()
                self._there.delete(name)
                del self._copied[name]

    def _check_claim(self) -> None:
        if self._claim.fault:
            raise OSError(self._claim.fault)


def files_of(folder: Path) -> Iterator[tuple[str, _Stamp]]:
    """The files of a run that are copied, by relative name: when changed (ns), size (bytes).

    Links to folders and hidden files are left out.

    Raises:
        OSError: a folder cannot be listed. Without its files it would look empty.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in OWN or path.name in THERE:
            continue
        if path.is_file():
            yield from _stamped(path, folder)
        else:
            for root, folders, names in os.walk(path, onerror=_raise_if_there):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for name in names:
                    if not name.startswith("."):
                        yield from _stamped(Path(root, name), folder)


def _raise_if_there(error: OSError) -> None:
    """A folder may be moved or removed meanwhile, and a name of a file that is no folder."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _stamped(path: Path, folder: Path) -> Iterator[tuple[str, _Stamp]]:
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return
    yield path.relative_to(folder).as_posix(), (stat.st_mtime_ns, stat.st_size)
