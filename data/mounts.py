"""Whether a folder lies on this machine: on its disks or in its memory, and not in a network.

A process that reads a mapped file ends with SIGBUS where a page of it cannot be read. That is rare
on a disk of the machine; on a network file system, a server that does not answer is enough. The
kinds of file systems are those of Linux, in /proc/self/mountinfo:
https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

LOCAL = (
    *("bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs"),
    *("reiserfs", "rootfs", "squashfs", "tmpfs", "xfs", "zfs"),
)
"""Kinds of file systems on disks or in memory. Any other one may lie in a network, as do nfs4,
cifs, lustre, ceph, gpfs, beegfs, 9p, virtiofs and most kinds of fuse."""


def is_local(path: Path, root: Path = Path("/")) -> bool:
    """Whether a file or folder lies on this machine; False if that is not known.

    Args:
        path: the file or folder.
        root: root of the file system that holds `proc`.
    """
    place, best, kind = path.resolve(), -1, ""
    for mount, found in _mounts(root):
        # Of two mounts at one place, the later one hides the other.
        if place.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), found
    return kind in LOCAL


def _mounts(root: Path) -> Iterator[tuple[Path, str]]:
    """Where file systems are mounted, and their kinds; nothing on other systems than Linux."""
    try:
        lines = (root / "proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = os.fsdecode(line).partition(" - ")
        # A space is written as \040.
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split(" ")[4])
        yield Path(place), after.split()[0]
