"""A container's limits, read from control groups of both versions that are made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shiftsearch.model.limits import (
    Limits,
    available_memory,
    container_limits,
    free_memory,
    memory_kills,
)

pytestmark = pytest.mark.unit

GIB = 2**30


def made(root: Path, own: str, files: dict[str, str]) -> Path:
    """A file system whose `proc/self/cgroup` is `own`, with files below `sys/fs/cgroup`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


V1 = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
UNLIMITED_1 = "9223372036854771712"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000", "memory.max": str(GIB)}, Limits(2.0, GIB)),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, Limits(None, None)),
        ("0::/\n", {"cpu.max": "50000 100000"}, Limits(0.5, None)),
        (  # the group above grants less than the process's own
            "0::/slice/job\n",
            {
                **{"slice/job/cpu.max": "800000 100000", "slice/job/memory.max": "max"},
                **{"slice/cpu.max": "300000 100000", "slice/memory.max": str(3 * GIB)},
            },
            Limits(3.0, 3 * GIB),
        ),
        (  # a container without a name space of its own: its path is the host's, not seen here
            V1,
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "150000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(2 * GIB),
            },
            Limits(1.5, 2 * GIB),
        ),
        (
            V1,
            {
                "cpu/docker/abc/cpu.cfs_quota_us": "-1",
                "cpu/docker/abc/cpu.cfs_period_us": "100000",
                "memory/docker/abc/memory.limit_in_bytes": UNLIMITED_1,
            },
            Limits(None, None),
        ),
        ("", {}, Limits(None, None)),
    ],
    ids=["v2", "v2-none", "v2-half", "v2-above", "v1", "v1-none", "no-groups"],
)
def test_the_least_limit_counts(
    tmp_path: Path, own: str, files: dict[str, str], expected: Limits
) -> None:
    assert container_limits(made(tmp_path, own, files)) == expected


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert container_limits(tmp_path) == Limits(None, None)
    assert memory_kills(tmp_path) == 0


def test_memory_is_the_container_s_where_that_is_less(tmp_path: Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    few, many = tmp_path / "few", tmp_path / "many"
    assert available_memory(made(few, "0::/\n", {"memory.max": "1048576"})) == 2**20
    assert available_memory(made(many, "0::/\n", {"memory.max": str(2**59)})) == machine


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (
            "0::/job\n",
            {
                "job/memory.max": "4000",
                "job/memory.current": "3000",
                "job/memory.stat": "anon 2500\ninactive_file 400\nactive_file 100",
                "memory.max": "max",
            },
        ),
        (
            "3:memory:/\n",
            {
                "memory/memory.limit_in_bytes": "4000",
                "memory/memory.usage_in_bytes": "3000",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 400",
            },
        ),
        ("0::/\n", {"memory.max": "1400", "memory.current": "0"}),
    ],
)
def test_free_memory_is_what_a_container_has_left(
    tmp_path: Path, own: str, files: dict[str, str]
) -> None:
    assert free_memory(made(tmp_path, own, files)) == 1400


def test_without_a_limit_nothing_is_left_of_it(tmp_path: Path) -> None:
    assert free_memory(made(tmp_path, "0::/\n", {"memory.current": "5"})) is None


@pytest.mark.parametrize(
    ("own", "name", "content"),
    [
        ("0::/job\n", "job/memory.events", "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2"),
        ("3:memory:/\n", "memory/memory.oom_control", "oom_kill_disable 0\noom_kill 2"),
    ],
)
def test_memory_kills_are_counted(tmp_path: Path, own: str, name: str, content: str) -> None:
    assert memory_kills(made(tmp_path, own, {name: content})) == 2
