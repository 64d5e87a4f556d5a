"""Which folders lie on this machine, as the kernel's list of mounts says."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftsearch.data.mounts import is_local

pytestmark = pytest.mark.unit

MOUNTS = r"""22 27 0:21 / /proc rw,relatime shared:12 - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:30 / /people rw - autofs systemd-1 rw,fd=41
31 30 0:31 /people /people/ada rw shared:3 master:1 - nfs4 server:/people rw,vers=4.2
32 31 0:32 / /people/ada/a\040disk rw - xfs /dev/sdb rw
33 27 0:33 / /hung/cloud rw - fuse.s3fs s3fs rw
34 27 0:34 / /hung/new rw - newfs new rw
35 27 0:35 / /quick rw - lustre 10.0.0.1@tcp:/quick rw
36 27 0:36 / /quick rw - tmpfs tmpfs rw
37 27 0:37 / /mine rw - tmpfs tmpfs rw
38 27 0:38 / /mine rw - 9p host rw
"""


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/disk/run", True),
        ("/peoples", True),
        ("/people/ben", False),
        ("/people/ada", False),
        ("/people/ada/runs/one/dataset", False),
        ("/people/ada/a disk/run", True),
        ("/people/ada/a", False),
        ("/hung/cloud/run", False),
        ("/hung/new", False),
        ("/hung/newer", True),
        ("/quick/run", True),  # the later mount hides the earlier
        ("/mine/run", False),
    ],
)
def test_the_innermost_mount_counts(tmp_path: Path, path: str, local: bool) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mountinfo").write_text(MOUNTS)
    assert is_local(Path(path), tmp_path) is local


def test_nothing_is_local_where_the_kernel_does_not_say(tmp_path: Path) -> None:
    assert not is_local(Path("/data"), tmp_path)
