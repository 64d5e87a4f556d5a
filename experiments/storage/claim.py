"""The right to write to a run under a URL, held by one driver at a time.

An object store has no locks. So each driver keeps an object of its own there, writes it again
every `BEAT` seconds, and removes it at its end. It first writes its own and then lists them all,
so of two drivers that start together at least one sees the other; the one that began earlier, or
has the smaller name, stays. What is not written for `STALE` seconds by the clock of the store is
of a dead driver, and is removed; before that, also what cannot be read counts as a driver's. A
store is asked for an object's size before its content, so what is replaced meanwhile by something
longer loses its end. Therefore all that a driver writes has one size.

A driver whose object is gone, or that could not write it for half of `STALE`, stops: see `fault`.
One that was suspended (SIGSTOP, a sleeping machine) may write once more before it notices. It can
then replace files of the copy by older ones, but no entry of the store by a wrong one. What the
next driver finds there is compared with its own journal, see `storage.arrival`.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shiftsearch.data.os_errors import in_words
from shiftsearch.model.remote import RemoteFolder
from shiftsearch.search.study.journal import RunLocked

BEAT, STALE = 15.0, 60.0
"""Seconds between two writes of a driver's object, and after which it counts as dead."""


class Claim:
    """One driver's object.

    Args:
        folder: where the objects of all drivers of the run lie.
        run: absolute path of the run's folder on this node.
        work: what the process does, in words, such as "a search".

    Attributes:
        name: its own object's name, new for each process.
        fault: why the run must not be written to any more, in one line; empty while it may.
    """

    def __init__(self, folder: RemoteFolder, run: Path, work: str) -> None:
        self.name, self.fault = f"{secrets.token_hex(8)}.json", ""
        self._folder, self._run, self._work = folder, str(run), work
        self._beat, self._stale = BEAT, STALE
        self._holds, self._beats = False, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="claim", daemon=True)

    def acquire(
        self, ended: Sequence[str] = (), tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Wait until no other driver holds it, for at most `stale` seconds or so.

        Args:
            ended: names of the objects of earlier drivers of this run's folder. This process has
                the folder's lock, so they have ended, unless the folder is a copy.
            tell: called with a line if it must wait.

        Raises:
            RunLocked: another driver holds it.
            OSError: the store does not answer, or refuses.
        """
        for name in ended:
            if self._is_mine(_read(self._folder.read(name))):
                self._folder.delete(name)
        seen: dict[str, Any] = {}
        self._write()
        try:
            while (found := self._others()) != {}:
                # None: its own was removed, so it is written and looked for again.
                others = found or {}
                if others and not seen:
                    who = next(iter(others.values()))
                    tell(f"{self._folder.url}: waits up to {self._stale:g} s for {_named(who)}")
                for name, content in others.items():
                    moved = seen.setdefault(name, content) != content
                    if not content:
                        continue
                    if (moved and content["holds"]) or (not content["holds"] and name < self.name):
                        where = self._folder.url.partition("?")[0]
                        rule = "wait until it has ended"
                        raise RunLocked(f"{where}: {_named(content)} is using this run; {rule}")
                time.sleep(self._beat / 3)
                self._write()
        except BaseException:
            self._folder.delete(self.name)
            raise
        self._holds = True
        self._write()
        self._thread.start()

    def release(self) -> None:
        """Give it up."""
        self._over.set()
        self._thread.join()
        if not self.fault:
            self._folder.delete(self.name)

    def _others(self) -> dict[str, dict[str, Any]] | None:
        """The objects of the other drivers that may live, by name; the dead ones are removed.

        One that cannot be read is empty. None if its own is not there any more.
        """
        found, others = self._folder.files(), {}
        own = found.pop(self.name, None)
        if own is None:
            return None
        for name, other in found.items():
            if own.written - other.written > self._stale:
                self._folder.delete(name)
            elif (content := self._folder.read(name)) is not None:
                others[name] = _read(content)
        return others

    def _is_mine(self, content: dict[str, Any]) -> bool:
        own = {"node": os.uname().nodename, "run": self._run}
        return all(content.get(key) == value for key, value in own.items())

    def _write(self) -> None:
        self._beats += 1
        content = {
            "process": os.getpid(),
            "node": os.uname().nodename,
            "run": self._run,
            "work": self._work,
            "holds": self._holds,
            "beats": self._beats,
        }
        size = len(json.dumps({**content, "holds": False, "beats": 10**9}))  # the largest
        self._folder.write(self.name, json.dumps(content).ljust(size).encode())

    def _keep(self) -> None:
        written = time.monotonic()
        while not self._over.wait(self._beat):
            try:
                others = self._others()
                if others is None or any(other.get("holds") for other in others.values()):
                    self.fault = f"{self._folder.url}: another driver has taken over this run"
                    return
                self._write()
                written = time.monotonic()
            except OSError as error:
                if time.monotonic() - written > self._stale / 2:
                    self.fault = f"the run's storage is lost: {in_words(error)}"
                    return


def _read(content: bytes | None) -> dict[str, Any]:
    """The content of a driver's object; empty if it is none."""
    try:
        found = json.loads(content or b"")
        return found if {"process", "node", "work", "holds"} <= found.keys() else {}
    except (ValueError, AttributeError):
        return {}


def _named(content: dict[str, Any]) -> str:
    if not content:
        return "another process"
    return f"{content['work']} (process {content['process']} on {content['node']})"
