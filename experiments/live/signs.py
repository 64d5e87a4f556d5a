"""Whether a run's driver is alive, judged from `RUN/status.json`.

On the driver's machine its process is looked for. On other machines the age of the file is used,
although the clocks may differ. No lock is taken and nothing is written.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shiftsearch.experiments.live.board import SCHEMA
from shiftsearch.experiments.wording import duration

STALE = 120.0
"""Seconds without a sign of life after which a driver on another machine counts as gone.

A shared file system may show a file up to a minute late (NFS caches names that long).
"""

_PROCESS = {"host", "pid", "started", "machine"}
_KEYS = {"beat", "process", "outcome", "phase", "counts", "retrain", "running", "workers"}
"""Keys of a status that are always read."""


def this_process() -> dict[str, Any]:
    """The identity of this process: host, pid, start and machine.

    `machine` stands for one boot of a kernel and one namespace of process numbers, so two
    containers with the same name are two machines. It and `started` are empty if there is no
    /proc.
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
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # Z, X: ended, but still listed


def read_status(path: Path) -> dict[str, Any] | None:
    """The last whole status that a driver of this version wrote; None if there is none."""
    try:
        status = json.loads(path.read_bytes())
        known = status["schema"] == SCHEMA and datetime.fromisoformat(status["written"]).tzinfo
        whole = status.keys() >= _KEYS and status["process"].keys() >= _PROCESS
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return status if known and whole else None


@dataclass(frozen=True)
class Sign:
    """Whether a driver is alive.

    Attributes:
        alive: None if unknown.
        text: the reason, in words.
        age: age of the last sign of life in seconds, by the clocks at hand.
    """

    alive: bool | None
    text: str
    age: float


def sign_of_life(
    status: Mapping[str, Any],
    modified: float,
    now: float,
    here: Mapping[str, Any],
    moved: bool = False,
) -> Sign:
    """Whether the driver that wrote a status is still alive.

    Args:
        status: from `read_status`.
        modified: the file's time, which a file server may have set; seconds since 1970.
        now: the reader's time, seconds since 1970.
        here: `this_process` of the reader.
        moved: whether a new heartbeat came while the reader watched; then clocks do not matter.
    """
    process, written = status["process"], datetime.fromisoformat(status["written"]).timestamp()
    # On one machine both times come from the same clock; otherwise the clocks may differ.
    by_file, by_driver = now - modified, now - written
    name = f"process {process['pid']} on {process['host']}"
    if process["machine"] and process["machine"] == here["machine"]:
        lives = _started(process["pid"]) == process["started"]
        quiet = f", but has written nothing for {duration(by_file)}" if by_file > STALE else ""
        return Sign(lives, f"{name} {f'is running{quiet}' if lives else 'is gone'}", by_file)
    if moved:
        return Sign(True, f"{name} is running: its status changes", 0.0)
    if by_file > STALE and by_driver > STALE:
        text = f"{name} gave its last sign of life {duration(by_driver)} ago"
        return Sign(False, text, by_driver)
    if max(abs(by_file), abs(by_driver)) <= STALE:
        text = f"{name} gave a sign of life {duration(max(0.0, by_file))} ago"
        return Sign(True, text, by_file)
    return Sign(
        None,
        f"{name}: its last sign of life is {_ago(by_driver)} by its own clock and "
        f"{_ago(by_file)} by the file's; the clocks differ, or this is a copy; --watch shows "
        "whether it changes",
        by_file,
    )


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} old" if seconds >= 0 else f"{duration(-seconds)} in the future"
