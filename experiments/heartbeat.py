"""`RUN/status.json`: written by the driver while it lives, read by anyone.

The driver takes no part: a thread writes what its `Board` shows, every two seconds while anything
changes and every ten as a sign of life. Readers take no lock; whether the driver still lives they
judge from its process, on its own machine, and elsewhere from the age of the file.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experiments.board import SCHEMA, Board
from experiments.wording import duration
from model.store import write_atomically

_LOG = logging.getLogger(__name__)

EVERY, AT_LEAST_EVERY = 2.0, 10.0
"""Seconds between two writings while anything changes, and while nothing does."""

STALE = 120.0
"""Seconds without a sign after which a driver elsewhere is given up.

A shared file system may show a file up to a minute late (NFS keeps names that long).
"""


class Heartbeat:
    """A context manager around the driver's work: writes `status.json` until the work ends.

    What the file cannot take (a full disk) is logged once; the search goes on. An exception that
    passes closes the board: KeyboardInterrupt as interrupted, any other as an error.
    """

    def __init__(self, path: Path, board: Board) -> None:
        self._path, self._board = path, board
        self._process, self._beat, self._complained = this_process(), 0, False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status.json", daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._board.close("interrupted")
        elif error is not None:
            self._board.close("error", f"{type(error).__name__}: {error}")
        self._over.set()
        self._thread.join(timeout=AT_LEAST_EVERY)
        if not self._thread.is_alive():  # else it hangs in the file system, and so would we
            self._write()

    def _run(self) -> None:
        version, written = self._board.version, time.monotonic()
        while not self._over.wait(EVERY):
            now = time.monotonic()
            if self._board.version != version or now - written > AT_LEAST_EVERY - EVERY:
                version, written = self._board.version, now
                self._write()

    def _write(self) -> None:
        try:
            self._beat += 1
            content = {
                **self._board.snapshot(),
                "written": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "beat": self._beat,
                "process": self._process,
            }
            write_atomically(self._path, json.dumps(content, indent=1, allow_nan=False).encode())
        except Exception as error:
            if not self._complained:
                _LOG.warning("%s cannot be written (%s); the search goes on", self._path, error)
            self._complained = True
        else:
            self._complained = False


def this_process() -> dict[str, Any]:
    """What tells this process from every other: host, pid, start and machine.

    `machine` is one boot of one kernel and one namespace of process numbers: two containers of
    the same name are two machines. Empty, like `started`, where there is no /proc.
    """
    pid = os.getpid()
    return {
        "host": platform.node(),
        "pid": pid,
        "started": _started(pid) or "",
        "machine": _machine(),
    }


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks; None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # dead, and not yet waited for


def read_status(path: Path) -> dict[str, Any] | None:
    """What a driver of this version wrote last; None when there is nothing to go by."""
    try:
        status = json.loads(path.read_text())
        known = status["schema"] == SCHEMA and datetime.fromisoformat(status["written"]).tzinfo
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return status if known else None


@dataclass(frozen=True)
class Sign:
    """Whether a driver lives.

    Attributes:
        alive: None when that cannot be told from here.
        text: what it was told from, in words.
        age: of the last sign in seconds, by the clocks at hand.
    """

    alive: bool | None
    text: str
    age: float


def sign_of_life(
    status: dict[str, Any], modified: float, now: float, here: dict[str, Any], moved: bool = False
) -> Sign:
    """Whether the driver that wrote a status still lives.

    Args:
        status: from `read_status`.
        modified: the file's own time, which a file server may have set; seconds since 1970.
        now: of the reader, seconds since 1970.
        here: `this_process` of the reader.
        moved: a new heartbeat came while the reader watched, whatever the clocks say.
    """
    process, written = status["process"], datetime.fromisoformat(status["written"]).timestamp()
    # On one machine the file's time and ours are of one clock; elsewhere they may differ.
    by_file, by_driver = now - modified, now - written
    name = f"process {process['pid']} on {process['host']}"
    if process["machine"] and process["machine"] == here["machine"]:
        lives = _started(process["pid"]) == process["started"]
        quiet = f", but has written nothing for {duration(by_file)}" if by_file > STALE else ""
        return Sign(lives, f"{name} {f'lives{quiet}' if lives else 'is gone'}", by_file)
    if moved:
        return Sign(True, f"{name} gives signs of life", 0.0)
    if by_file > STALE and by_driver > STALE:
        return Sign(False, f"{name} gave its last sign {duration(by_driver)} ago", by_driver)
    if max(abs(by_file), abs(by_driver)) <= STALE:
        return Sign(True, f"{name} gave a sign {duration(max(0.0, by_file))} ago", by_file)
    return Sign(
        None,
        f"{name}: its last sign is {_ago(by_driver)} by its own clock and {_ago(by_file)} by the "
        "file's; the clocks differ, or this is a copy: --watch shows whether it moves",
        by_file,
    )


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} old" if seconds >= 0 else f"{duration(-seconds)} in the future"
