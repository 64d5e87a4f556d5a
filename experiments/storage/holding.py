"""The one process that writes to a run: it holds the folder's lock, and the claim at the URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shiftsearch.data.os_errors import in_words
from shiftsearch.experiments.definition import DefinitionError
from shiftsearch.experiments.exits import Interrupted
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.storage.arrival import arrive
from shiftsearch.experiments.storage.claim import Claim
from shiftsearch.experiments.storage.copying import Copying
from shiftsearch.experiments.storage.place import Place, place_of
from shiftsearch.model.remote import RemoteFolder, refused
from shiftsearch.search.executing.jobs import Listener
from shiftsearch.search.study.journal import RunLock


class Holding:
    """The right to write to a run, while it lasts.

    Attributes:
        listeners: to be told of the jobs of the run.
    """

    def __init__(self, claim: Claim | None = None, copying: Copying | None = None) -> None:
        self._claim, self._copying = claim, copying
        self.listeners: list[Listener] = [] if copying is None else [copying]

    @property
    def fault(self) -> str:
        """Why the process must not go on, in one line; empty while it may."""
        if self._claim is None or self._copying is None:
            return ""
        return self._claim.fault or self._copying.fault

    def copy(self) -> None:
        """Copy all files now, for workers that do not see the folder.

        Raises:
            OSError: it cannot be copied, or another driver has taken over.
        """
        if self._copying is not None:
            self._copying.copy()


def _anything(_: object) -> None:
    """Accept a journal of any run; tell nobody."""


def has_begun(run: Run, place: Place | None) -> bool:
    """Whether there is such a run, in its folder or under its URL.

    Raises:
        DefinitionError, Interrupted: as in `held`.
    """
    if run.journal.exists() or place is None:
        return run.journal.exists()
    with _answering(place):
        return RemoteFolder(place.url).find(run.journal.name) is not None


@contextmanager
def held(
    run: Run,
    work: str,
    place: Place | None = None,
    check: Callable[[Path], None] = _anything,
    tell: Callable[[str], None] = _anything,
) -> Iterator[Holding]:
    """Hold a run inside; one that lies under a URL is brought here first and copied at the end.

    Args:
        run: the run, or the folder of a new one.
        work: what the process does, in words, such as "a search".
        place: where the run lies besides its folder; None: where it says.
        check: see `storage.arrival.arrive`.
        tell: called with lines for the user.

    Raises:
        RunLocked: another process holds it.
        NotARun: see `storage.arrival.arrive`.
        DefinitionError: the store refuses.
        Interrupted: the store does not answer; or not any more at the end.
    """
    lock = RunLock(run.lock, work)
    lock.acquire()
    try:
        place = place or place_of(run)
        if place is None:
            yield Holding()
        else:
            with _held_there(run, work, place, check, tell) as holding:
                yield holding
    finally:
        lock.release()


@contextmanager
def _held_there(
    run: Run,
    work: str,
    place: Place,
    check: Callable[[Path], None],
    tell: Callable[[str], None],
) -> Iterator[Holding]:
    there = RemoteFolder(place.url)
    claim = Claim(there.folder("drivers"), run.folder, work)
    copying = Copying(run, there, claim)
    with _answering(place):
        claim.acquire([*place.drivers], tell)
    try:
        with _answering(place):
            arrive(run, place, claim.name, check, tell)
            copying.start()
        try:
            yield Holding(claim, copying)
        except BaseException:
            with suppress(OSError):  # the first error is the one to show
                copying.finish()
            raise
        try:
            copying.finish()
        except OSError as error:
            raise Interrupted(in_words(error)) from error
    finally:
        with suppress(OSError):
            claim.release()


@contextmanager
def _answering(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if refused(error):
            where = place.url.partition("?")[0]
            raise DefinitionError([f"storage: {where}: {in_words(error)}"]) from None
        raise Interrupted(in_words(error)) from error
