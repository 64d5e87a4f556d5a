"""Limits of a container or a batch system for this process: control groups, versions 1 and 2.

The kernel's affinity does not include a quota: in a container of 2 CPUs on a machine of 64, it
counts 64. A limit applies to the group that sets it and to all groups below it, so the lowest
limit of the process's own group and those above it counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("sys/fs/cgroup")
_NO_LIMIT = 2**60  # version 1 writes the largest multiple of a page where there is none


@dataclass(frozen=True)
class Limits:
    """The limits that the control groups set.

    Attributes:
        cpus: seconds of processor time per second, above 0; None without a limit.
        memory: bytes; None without a limit.
    """

    cpus: float | None
    memory: int | None


def container_limits(root: Path = Path("/")) -> Limits:
    """The limits of this process's control groups.

    Args:
        root: root of the file system that holds `proc` and `sys`.
    """
    cpus = [quota for folder in _folders(root, "cpu") if (quota := _cpu_quota(folder))]
    memory = [limit for folder in _folders(root, "memory") if (limit := _memory_limit(folder))]
    return Limits(min(cpus, default=None), min(memory, default=None))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of memory of the machine, or of the container if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, container_limits(root).memory or machine)


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory that the limits leave to this process; None without a limit.

    Memory that the kernel can take back, because it holds files that were read, is free.
    """
    left = []
    for folder in _folders(root, "memory"):
        limit = _memory_limit(folder)
        used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
        if limit is not None and used.strip().isdigit():
            lines = (line.split() for line in _read(folder / "memory.stat").splitlines())
            parts = {name: int(size) for name, size in lines}
            files = parts.get("total_inactive_file", parts.get("inactive_file", 0))
            left.append(max(0, limit - int(used) + files))
    return min(left, default=None)


def memory_kills(root: Path = Path("/")) -> int:
    """How many processes of this control group the kernel has killed because memory ran out.

    0 if the kernel does not say.
    """
    for folder in _folders(root, "memory"):
        for name in ("memory.events", "memory.oom_control"):
            counts = dict(line.split() for line in _read(folder / name).splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return 0


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's own group of a controller and of the visible groups above it."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            base = root / _GROUPS
        elif controller in controllers.split(","):
            # Where two controllers share a mount, the single names are links to it, mostly.
            names = [root / _GROUPS / name for name in (controller, controllers)]
            base = next((name for name in names if name.is_dir()), names[0])
        else:
            continue
        # In a container the path may be the host's, which is not seen here; the top one is.
        own = base / path.strip("/")
        yield own
        while own != base:
            own = own.parent
            yield own


def _cpu_quota(folder: Path) -> float | None:
    quota, period = (*_read(folder / "cpu.max").split(), "", "")[:2]
    if not quota:
        quota = _read(folder / "cpu.cfs_quota_us").strip()
        period = _read(folder / "cpu.cfs_period_us").strip()
    if not (quota.isdigit() and period.isdigit() and int(period)):  # "max" and -1: no limit
        return None
    return int(quota) / int(period)


def _memory_limit(folder: Path) -> int | None:
    limit = (_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")).strip()
    return int(limit) if limit.isdigit() and int(limit) < _NO_LIMIT else None


def _read(path: Path) -> str:
    """The text of a file; empty if there is none, as on systems without control groups."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
