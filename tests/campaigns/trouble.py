"""A clock that jumps and storage that is slow, in a driver and in all that it starts.

`TROUBLE` in the environment names them. A forked driver calls `begin`; in its workers the module
`sitecustomize` does, which `in_all_processes` puts on their import path.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TROUBLE = "SHIFTSEARCH_CAMPAIGN_TROUBLE"
SLOW = 0.05
"""The longest delay of an operation on a file, in seconds."""
JUMPS = (-86_400.0, -3600.0, 0.0, 3600.0, 86_400.0)
"""What the clock is wrong by, in seconds; it changes every second."""


def in_all_processes(folder: Path, *names: str) -> dict[str, str]:
    """Variables for a driver whose processes have this trouble; the folder is for a file."""
    folder.mkdir(exist_ok=True)
    begins = "from tests.campaigns.trouble import begin\nbegin()\n"
    (folder / "sitecustomize.py").write_text(begins)
    repository = Path(__file__).resolve().parents[2]
    return {TROUBLE: " ".join(names), "PYTHONPATH": f"{folder}{os.pathsep}{repository}"}


def begin() -> None:
    """Make the trouble that the environment names."""
    for name in os.environ.get(TROUBLE, "").split():
        {"clock": jump, "storage": delay}[name]()


def jump() -> None:
    """Python's clock of the day jumps; the monotonic one does not, as on any machine."""
    real, real_ns = time.time, time.time_ns

    def wrong() -> float:
        return random.Random(int(real())).choice(JUMPS)

    time.time = lambda: real() + wrong()
    time.time_ns = lambda: real_ns() + int(wrong()) * 10**9


def delay() -> None:
    """Files are read, forced to the disk, and renamed late."""

    def late(original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **options: Any) -> Any:
            time.sleep(random.uniform(0, SLOW))
            return original(*args, **options)

        return operation

    os.fsync, os.replace = late(os.fsync), late(os.replace)
    Path.read_bytes = late(Path.read_bytes)  # type: ignore[method-assign]
