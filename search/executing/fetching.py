"""Copies of folders under a URL, one for each node, for nodes that do not see the run's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from shiftsearch.data.dataset import DataError
from shiftsearch.data.publishing import written_beside
from shiftsearch.model.remote import RemoteFolder


def on_this_node(there: RemoteFolder, session: str, version: str) -> Path:
    """The node's copy of a folder; the first worker that needs it makes it.

    Args:
        there: the folder.
        session: the folder of Ray's session on this node, which ends with Ray.
        version: names what it holds, such as a digest; of each version there is another copy.

    Raises:
        DataError: there is no such folder, or one of its files would lie outside of it.
        OSError: it cannot be read or written.
    """
    key = hashlib.blake2b(f"{there.url}\n{version}".encode(), digest_size=8).hexdigest()
    target = Path(session, f"shiftsearch-{key}")
    if target.exists():
        return target
    names, where = list(there.files()), there.url.partition("?")[0]
    if not names:
        raise DataError([f"{where}: is not there, and this node does not see the run's folder"])
    try:
        with written_beside(target) as folder:
            for name in names:
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise DataError([f"{where}: has the file {name!r}, outside of it"])
                content = there.read(name)
                if content is not None:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(content)
    except OSError:
        if not target.exists():  # else another worker was faster
            raise
    return target
