"""What `doctor` measures on one machine; the same for this one and for each node of a cluster."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import resource
import runpy
import socket
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shiftsearch.model.limits import available_memory, free_memory

PACKAGES = ("ray", "torch", "optuna", "shiftsearch")
_FLOORS = ("data", "model", "search")  # what a worker runs
_LOOPBACK = ("127.0.0.1", "localhost")
_TOKEN_FILE = ".ray/auth_token"  # below the home folder, where Ray keeps it


@dataclass(frozen=True)
class Disk:
    """The file system of a folder, or of the nearest folder above it that exists.

    Attributes:
        folder: the folder that was asked for.
        free, size: bytes; free for this user.
        files: number of files that may still be made; -1 if the file system has no limit.
    """

    folder: str
    free: int
    size: int
    files: int = -1


@dataclass(frozen=True)
class Token:
    """How this process would show itself to a Ray cluster.

    Attributes:
        mode: RAY_AUTH_MODE in lower case; empty if it is not set.
        source: the variable or file that holds the token; empty without a token.
        mark: hash of the token and of a salt; equal for equal tokens. Empty without a token.
        problem: why the token cannot be read; empty if it can, or if there is none.
        readable_by_others: whether other users of the machine may read its file.
    """

    mode: str = ""
    source: str = ""
    mark: str = ""
    problem: str = ""
    readable_by_others: bool = False


@dataclass(frozen=True)
class Facts:
    """What was measured on one machine.

    Attributes:
        host: the machine's name.
        versions: of Python and `PACKAGES`; empty for a package that is missing.
        code: digest of the source of shiftsearch that workers run.
        cuda: version of CUDA that torch was built for; empty for a CPU build.
        memory, free_memory: bytes; a container's limit, and what it uses, count.
        shm: free bytes in /dev/shm; None where there is none.
        disks: of the folders that were asked for.
        files: number of files that a process may open; -1 without a limit.
        proxies: variables that send connections to this machine itself to a proxy.
        token: how processes here would show themselves to a Ray cluster.
        loopback: why no connection can be made to 127.0.0.1; empty if it can.
    """

    host: str
    versions: Mapping[str, str]
    code: str
    cuda: str
    memory: int
    free_memory: int
    shm: int | None
    disks: tuple[Disk, ...]
    files: int
    proxies: tuple[str, ...] = ()
    token: Token = field(default_factory=Token)
    loopback: str = ""


def measure(folders: Mapping[str, str], salt: str, environment: Mapping[str, str]) -> Facts:
    """Measure this machine; takes well below a second and changes nothing.

    Args:
        folders: folders whose disks are measured, by what they are for.
        salt: goes into the token's mark; new for each examination.
        environment: variables of this process.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory, left = available_memory(), free_memory()
    return Facts(
        platform.node(),
        {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        _code(),
        _cuda(),
        memory,
        min(memory, _free_memory(memory), memory if left is None else left),
        _free(Path("/dev/shm")),
        tuple(disk(path) for path in folders.values()),
        soft if soft != resource.RLIM_INFINITY else -1,
        proxied(environment),
        token(environment, salt),
        _loopback(),
    )


def proxied(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The proxy variables that catch connections to loopback; their values may hold passwords."""
    given = {name.lower(): name for name, value in environment.items() if value}
    found = [f"{kind}_proxy" for kind in ("http", "https", "all", "grpc")]
    exempt = environment.get(given.get("no_proxy", ""), "")
    proxies = {"no": exempt}
    bypassed = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    if all(bypassed(host, proxies) for host in _LOOPBACK):
        return ()
    return tuple(given[name] for name in found if name in given)


def token(environment: Mapping[str, str], salt: str) -> Token:
    """The token of Ray that a process in this environment has, found in Ray's own order."""
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if text := environment.get("RAY_AUTH_TOKEN"):
        return Token(mode, "RAY_AUTH_TOKEN", _mark(text, salt))
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    home = environment.get("HOME")
    if not (named or home):
        return Token(mode)
    path = Path(named) if named else Path(str(home), _TOKEN_FILE)
    try:
        text = path.read_text(encoding="utf-8").strip()
        others = _open_to_all(path)
    except (OSError, ValueError) as error:
        why = f"{path}: {getattr(error, 'strerror', None) or error}"
        return Token(mode, problem=why if named else "")
    return Token(mode, str(path), _mark(text, salt) if text else "", "", others)


def disk(folder: str) -> Disk:
    """The file system of a folder that may not exist yet."""
    path = Path(folder)
    while not path.exists() and path != path.parent:
        path = path.parent
    stat = os.statvfs(path)
    files = stat.f_favail if stat.f_files else -1
    return Disk(folder, stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize, files)


def _open_to_all(path: Path) -> bool:
    """Whether every user of the machine can read a file and reach its folder."""
    whole = path.resolve()
    reachable = all(folder.stat().st_mode & 0o001 for folder in whole.parents)
    return reachable and bool(whole.stat().st_mode & 0o004)


def _mark(text: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{text}".encode()).hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _code() -> str:
    digest = hashlib.sha256()
    for floor in _FLOORS:
        spec = importlib.util.find_spec(f"shiftsearch.{floor}")
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{floor}/{path.relative_to(folder).as_posix()}".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _cuda() -> str:
    """Read from a file, because importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, "version.py")
        if file.exists():
            return str(runpy.run_path(str(file)).get("cuda") or "")
    return ""


def _free_memory(default: int) -> int:
    """Bytes that the kernel would give; the default where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return default
    values = {line.split(":")[0]: line.split()[1] for line in lines if ":" in line}
    return int(values["MemAvailable"]) * 1024 if "MemAvailable" in values else default


def _free(folder: Path) -> int | None:
    return disk(str(folder)).free if folder.is_dir() else None


def _loopback() -> str:
    """Why a port on 127.0.0.1 cannot be opened and reached; empty if it can."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
