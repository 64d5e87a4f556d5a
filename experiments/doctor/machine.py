"""Checks of one machine: what it has, what it lacks, and what to do.

A check is a function of what was measured, and an entry in `CHECKS`. The driver's machine is
checked before each search, and all nodes of a cluster by `doctor`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from shiftsearch.experiments.doctor.facts import PACKAGES, Facts
from shiftsearch.experiments.doctor.finding import Finding, listed
from shiftsearch.search.executing.tested import RAY

GIB = 2**30
LEAST_MEMORY, LITTLE_MEMORY = 0.5 * GIB, 2.0 * GIB
"""Bytes; Ray itself takes 0.5 GiB, a worker 0.5 to 0.75 GiB."""
LEAST_DISK, LITTLE_DISK = 0.2 * GIB, 2.0 * GIB
"""Bytes; the weights of a stage take 2.75 MB at 28x28 pixels, and a run of 400 trials 216 MB."""
RAY_S_SHARE = 0.95
"""Share of a disk above which Ray makes no more objects on it."""
LEAST_SHM = 2**27
"""Bytes; Ray's object store takes 100 MiB."""
LEAST_FILES, FEW_FILES = 256, 1024


def packages(facts: Facts) -> Finding:
    """Python and the packages that a search needs, and whether Ray is of a tested version."""
    missing = [name for name in PACKAGES if not facts.versions[name]]
    said = ", ".join(f"{name} {v or 'missing'}" for name, v in facts.versions.items())
    if missing:
        advice = f"install {', '.join(missing)} there, with the versions of constraints.txt"
        return Finding("packages", "FAIL", said, advice)
    oldest, newest = RAY
    have = _numbers(facts.versions["ray"])
    if _numbers(oldest) <= have <= _numbers(newest):
        return Finding("packages", "PASS", said)
    age = "newer" if have > _numbers(newest) else "older"
    tested = newest if oldest == newest else f"{oldest} to {newest}"
    advice = f"Ray is {age} than tested; if a search fails, use Ray {tested}"
    return Finding("packages", "WARN", said, advice)


def memory(facts: Facts) -> Finding:
    """Memory for Ray and at least one trial."""
    said = f"{facts.free_memory / GIB:.1f} GiB of {facts.memory / GIB:.1f} GiB are free"
    advice = "end other programs, or ask for more memory; a trial needs 0.75 GiB beside Ray"
    if facts.free_memory < LEAST_MEMORY:
        return Finding("memory", "FAIL", said, advice)
    if facts.free_memory < LITTLE_MEMORY:
        return Finding("memory", "WARN", said, advice)
    return Finding("memory", "PASS", said)


def disk(facts: Facts) -> Finding:
    """Room for the run's folder and for Ray's session."""
    found = [
        f"{d.folder}: {d.free / GIB:.1f} GiB of {d.size / GIB:.1f} GiB are free"
        for d in facts.disks
    ]
    low = [d for d in facts.disks if d.free < LEAST_DISK or d.files == 0]
    if low:
        said = listed([f"{d.folder}: {_room(d.free, d.files)} left" for d in low])
        return Finding("disk", "FAIL", said, "free some space, or use another --run or RAY_TMPDIR")
    little = [d for d in facts.disks if d.free < LITTLE_DISK]
    full = [d for d in facts.disks if d.size and 1 - d.free / d.size > RAY_S_SHARE]
    if little or full:
        said = listed(
            [f"{d.folder}: {_room(d.free, d.files)} left" for d in little]
            + [
                f"{d.folder}: its disk is {1 - d.free / d.size:.0%} full"
                for d in full
                if d not in little
            ]
        )
        advice = (
            "free some space; a run of 400 trials takes 0.2 GB at 28x28 pixels, and Ray makes no"
            f" large objects on a disk that is more than {RAY_S_SHARE:.0%} full"
        )
        return Finding("disk", "WARN", said, advice)
    return Finding("disk", "PASS", listed(found))


def shared_memory(facts: Facts) -> Finding:
    """Room in /dev/shm, where Ray's processes exchange objects."""
    name = "/dev/shm"
    if facts.shm is None:
        return Finding(name, "PASS", "there is none; Ray uses its folder instead")
    said = f"{facts.shm / 2**20:.0f} MiB are free"
    if facts.shm < LEAST_SHM:
        advice = "start the container with --shm-size=1g; Ray uses a slower folder instead"
        return Finding(name, "WARN", said, advice)
    return Finding(name, "PASS", said)


def open_files(facts: Facts) -> Finding:
    """How many files a process may open; Ray needs some for each worker."""
    if facts.files < 0:
        return Finding("open files", "PASS", "no limit")
    said = f"a process may open {facts.files}"
    advice = f"raise the limit, as with `ulimit -n {4 * FEW_FILES}`"
    if facts.files < LEAST_FILES:
        return Finding("open files", "FAIL", said, advice)
    if facts.files < FEW_FILES:
        return Finding("open files", "WARN", said, advice)
    return Finding("open files", "PASS", said)


def proxies(facts: Facts) -> Finding:
    """Proxies that would be asked for connections to this machine itself."""
    if not facts.proxies:
        return Finding("proxies", "PASS", "none catches 127.0.0.1")
    said = f"{', '.join(facts.proxies)} also holds for 127.0.0.1 and localhost"
    advice = (
        "add no_proxy=127.0.0.1,localhost and the cluster's addresses; else `ray job submit`,"
        " dashboards and TensorBoard may ask the proxy"
    )
    return Finding("proxies", "WARN", said, advice)


def loopback(facts: Facts) -> Finding:
    """Whether a port on 127.0.0.1 can be opened and reached; Ray's processes talk over such."""
    if facts.loopback:
        said = f"a port on 127.0.0.1 cannot be opened and reached ({facts.loopback})"
        advice = "allow connections to 127.0.0.1; a sandbox or firewall forbids them"
        return Finding("ports", "FAIL", said, advice)
    return Finding("ports", "PASS", "a port on 127.0.0.1 can be opened and reached")


def token(facts: Facts, joins: bool) -> Finding:
    """The token that shows a Ray cluster who may use it.

    Args:
        facts: what was measured.
        joins: whether a cluster is joined; a local Ray gets a token of its own.
    """
    found, name = facts.token, "token"
    if found.problem:
        advice = "correct RAY_AUTH_TOKEN_PATH, or set RAY_AUTH_TOKEN"
        return Finding(name, "FAIL", found.problem, advice)
    if not joins:
        return Finding(name, "PASS", "a local Ray gets one of its own")
    if found.mode == "token" and not found.mark:
        advice = "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token"
        return Finding(name, "FAIL", "RAY_AUTH_MODE is token, but there is no token", advice)
    if found.readable_by_others:
        said = f"other users of this machine can read {found.source}"
        return Finding(name, "WARN", said, f"chmod 600 {found.source}")
    mode = f"RAY_AUTH_MODE is {found.mode or 'not set'}"
    return Finding(name, "PASS", f"{mode}, token from {found.source or 'nowhere'}")


Check = Callable[[Facts], Finding]
CHECKS: Sequence[Check] = (
    packages,
    memory,
    disk,
    shared_memory,
    open_files,
    proxies,
    loopback,
)


def _room(free: int, files: int) -> str:
    return "no file" if files == 0 else f"{free / GIB:.2f} GiB"


def _numbers(version: str) -> tuple[int, ...]:
    """`2.60.0` as (2, 60, 0); of `2.61.0.dev0` or `3.0.0rc1` the leading numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
