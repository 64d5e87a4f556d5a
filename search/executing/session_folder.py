"""The folder of a local Ray's session: its path must be short enough for Ray's sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107


class SessionFolder(NamedTuple):
    """Where Ray keeps its session.

    Attributes:
        path: Ray's default, or a short folder if the default is too long; None if there is none.
        problem: why the default cannot be used, in one line; empty if it can.
    """

    path: Path | None
    problem: str


def session_folder(
    environment: Mapping[str, str], short: Sequence[str] = SHORT_FOLDERS
) -> SessionFolder:
    """Choose the folder of a local Ray's session; nothing is created.

    Args:
        environment: RAY_TMPDIR or TMPDIR in it names the default's parent.
        short: parents to use instead, in order.
    """
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in environment else "TMPDIR"
    default = Path(environment.get(name, SHORT_FOLDERS[0])).absolute() / "ray"
    longest = f"/session_2000-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    most = _SOCKET_BYTES - len(longest)
    if len(os.fsencode(default)) <= most:
        return SessionFolder(default, "")
    problem = f"{name} {environment[name]}: is too long for Ray's sockets"
    for parent in map(Path, short):
        folder = parent / "ray"
        if os.access(folder if folder.exists() else parent, os.W_OK | os.X_OK):
            return SessionFolder(folder, f"{problem}; using {folder} instead")
    return SessionFolder(None, f"{problem}; set RAY_TMPDIR to a path of at most {most - 4} bytes")
