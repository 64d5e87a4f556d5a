"""Signs of life of a driver, from what it left in `RUN/status.json`.

On its own machine its process is looked for; elsewhere the age of the file has to do, by clocks
that may differ. No lock is taken and nothing is written.
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
"""Seconds without a sign after which a driver elsewhere is given up.

A shared file system may show a file up to a minute late (NFS keeps names that long).
"""


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
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks; None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # dead, and not yet waited for


def read_status(path: Path) -> dict[str, Any] | None:
    """What a driver of this version wrote last; None when there is nothing to go by."""
    try:
        status = json.loads(path.read_bytes())
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
    status: Mapping[str, Any],
    modified: float,
    now: float,
    here: Mapping[str, Any],
    moved: bool = False,
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
