"""Brings a run from its URL into the folder, if another folder wrote there last.

The folder's own files are the newer ones if nobody else has written since (`last-driver.json`
under the URL names the last driver, `storage.json` in the folder the folder's own). Otherwise the
copy is taken, provided that the folder's journal is a beginning of the copy's. If it is the other
way round, the other driver ended before it did anything: then the folder's files are the newer
ones, too, and only the looks are brought. If both went on from the same place, there are two runs,
and neither is touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.storage.copying import OWN, THERE
from shiftsearch.experiments.storage.place import Place, note_place
from shiftsearch.experiments.wording import counted
from shiftsearch.model.remote import RemoteFolder
from shiftsearch.search.study.journal import whole_part

_LAST = "last-driver.json"


def arrive(
    run: Run, place: Place, driver: str, check: Callable[[Path], None], tell: Callable[[str], None]
) -> None:
    """Make the folder the newest state of the run, and note this driver as the last one.

    Args:
        run: a locked run.
        place: where it lies.
        driver: name of this driver's claim, which it holds.
        check: called with a copy of the journal before anything is brought; raises an error if it
            is of another run.
        tell: called with a line if files are brought.

    Raises:
        NotARun: folder and copy went on separately; the copy has a file outside of its folder.
        OSError: the store does not answer, or refuses.
    """
    there = RemoteFolder(place.url)
    journal = there.read(run.journal.name)
    last = _driver_in(there.read(_LAST))
    known = [*place.drivers[-1:]]
    own = whole_part(run.journal.read_bytes()) if run.journal.exists() else None
    if journal is None or (own is not None and last in place.drivers):
        pass  # nobody else wrote since
    elif own is not None and own != (copied := whole_part(journal)) and own.startswith(copied):
        _bring_looks(run, there)
    else:
        if own is not None and not journal.startswith(own):
            where = place.url.partition("?")[0]
            rule = f"use another --run, or remove {run.folder} to go on with that one"
            raise NotARun(
                f"{run.journal}: another folder went on with this run, at {where}; {rule}"
            )
        write_atomically(run.arriving, journal)
        try:
            check(run.arriving)
        except BaseException:
            run.arriving.unlink()
            raise
        count = _bring(run, there)
        run.arriving.replace(run.journal)
        tell(f"{counted(count, 'file')} of the run came from {place.url.partition('?')[0]}")
        known = [last]
    # In this order: a driver that dies in between finds itself in its list.
    note_place(run, replace(place, drivers=(*known, driver)))
    there.write(_LAST, json.dumps({"driver": driver}).encode())


def _driver_in(content: bytes | None) -> str:
    try:
        return str(json.loads(content or b"")["driver"])
    except (LookupError, TypeError, ValueError):
        return ""


def _bring(run: Run, there: RemoteFolder) -> int:
    """Copy all files but the journal; returns the number of all."""
    for folder in (run.tensorboard, run.every_tensorboard):
        shutil.rmtree(folder, ignore_errors=True)
    names = [name for name in there.files() if name.split("/")[0] not in (*OWN, *THERE)]
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise NotARun(f"{there.url.partition('?')[0]}: has the file {name!r}, outside of it")
    for name in names:
        content = there.read(name)
        if content is not None and name == run.looks.name:
            content = _with_own_looks(run, content, there.url.partition("?")[0])
        if content is not None and name != run.journal.name:
            write_atomically(run.folder / name, content)
    return len(names)


def _bring_looks(run: Run, there: RemoteFolder) -> None:
    content = there.read(run.looks.name)
    if content is not None:
        looks = _with_own_looks(run, content, there.url.partition("?")[0])
        write_atomically(run.looks, looks)


def _with_own_looks(run: Run, content: bytes, where: str) -> bytes:
    """The copy's looks, and after them those that only the folder knows: each look counts."""
    here = looks_so_far(run.looks)
    try:
        there = list[object](json.loads(content))
    except (TypeError, ValueError):
        raise NotARun(f"{where}/{run.looks.name}: is damaged, it holds no list of looks") from None
    shared = 0
    while shared < min(len(here), len(there)) and here[shared] == there[shared]:
        shared += 1
    return json.dumps([*there, *here[shared:]], indent=1).encode() if here[shared:] else content
