"""A local Ray on this machine: its options, and the error message if it does not start.

It listens only on the loopback address, respects the limits of a container, writes nothing to the
home directory, and keeps its files in a folder whose path is short enough for its sockets.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import resource
import secrets
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shiftsearch.data.os_errors import in_words
from shiftsearch.model.device import available_cpus, available_gpus
from shiftsearch.model.limits import available_memory
from shiftsearch.search.executing.faults import EnvironmentFault, first_line
from shiftsearch.search.executing.ray_private import (
    NEEDED,
    ended_processes,
    kernel_ties_children,
    listen_on_loopback,
    logs_path,
    process_numbers,
    sessions_of_their_own,
)
from shiftsearch.search.executing.session_folder import session_folder

_LOG = logging.getLogger(__name__)
_OBJECT_STORE_BYTES = 100 * 2**20  # nothing large is sent; Ray would take 30 % of the memory
_LEAST_OBJECT_STORE_BYTES = 80 * 2**20  # Ray takes no less than 75 MiB
_FEW_FILES = 1024
_LONGEST_TMPDIR = 64  # of 107 bytes, which a socket's path may have; names of 34 bytes follow


@contextlib.contextmanager
def local_ray() -> Iterator[dict[str, Any]]:
    """Options of `ray.init` for a local Ray; an error inside becomes a message of one line.

    Raises:
        EnvironmentFault: Ray did not start, or there is no folder for its sockets.
    """
    folder = _folder(os.environ)
    try:
        yield _options(folder)
    except Exception as error:  # Ray's are of many types
        said = in_words(error) if isinstance(error, OSError) else first_line(error)
        # The folder of this process's session; "session_latest" may point to an earlier one.
        logs = [str(p / "logs") for p in folder.glob(f"session_*_{os.getpid()}")]
        where = f"; its log: {logs[-1]}" if logs else ""
        raise EnvironmentFault(f"Ray cannot start: {said}{_few_files()}{where}") from None


@contextlib.contextmanager
def own_sessions() -> Iterator[None]:
    """Start Ray's processes each in a session of its own, where the kernel ties them to this one.

    Otherwise a signal to this process's group, as `timeout`, batch systems and a closed terminal
    send it, ends Ray's processes first, and this one waits for them. They end with this process
    nevertheless. Where the kernel does not do that, Ray's reaper needs one common group.
    """
    with sessions_of_their_own() if kernel_ties_children() else contextlib.nullcontext():
        yield


def lost_process() -> str:
    """Which process of the local Ray that every job needs has ended, in one line; else empty."""
    for name, code in ended_processes():
        if name in NEEDED:
            return (
                f"Ray's process {name} on this machine has ended ({_ending(code)}); its log: "
                f"{logs_path()}"
            )
    return ""


def kill_local_ray() -> None:
    """Kill all processes of the local Ray, workers and agents too."""
    for number in process_numbers():
        with contextlib.suppress(OSError):  # it has no group of its own, or no process is left
            os.killpg(number, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _options(folder: Path) -> dict[str, Any]:
    listen_on_loopback()
    # Ray writes its token to ~/.ray, which may be missing or read-only, and which two runs that
    # start at once would both write. The processes that Ray starts inherit this token.
    if not any(f"RAY_AUTH_{name}" in os.environ for name in ("TOKEN", "TOKEN_PATH", "MODE")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    memory = available_memory()
    return {
        "address": "local",
        "include_dashboard": _has_dashboard(),
        "dashboard_host": "127.0.0.1",
        "num_cpus": available_cpus(),
        "num_gpus": available_gpus(),
        "_memory": memory,
        "object_store_memory": max(
            _LEAST_OBJECT_STORE_BYTES, min(_OBJECT_STORE_BYTES, memory // 10)
        ),
        "_temp_dir": str(folder),
    }


def _has_dashboard() -> bool:
    """Whether Ray's dashboard is installed and can start; its sockets lie in TMPDIR."""
    installed = importlib.util.find_spec("aiohttp_cors") is not None
    return installed and len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_TMPDIR


def _folder(environment: Mapping[str, str]) -> Path:
    """Where Ray keeps its session.

    Raises:
        EnvironmentFault: there is no short folder that can be written to.
    """
    path, problem = session_folder(environment)
    if path is None:
        raise EnvironmentFault(problem)
    if problem:
        _LOG.warning("%s", problem)
    return path


def _few_files() -> str:
    """A hint if this process may open only few files; Ray needs many."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f" (only {soft} files may be open, see ulimit -n)" if 0 <= soft < _FEW_FILES else ""
