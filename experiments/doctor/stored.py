"""Whether an object store can be used: written, read back, listed and deleted from a machine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shiftsearch.data.os_errors import in_words
from shiftsearch.experiments.doctor.finding import Finding, listed
from shiftsearch.model.remote import RemoteFolder

CHECK = "object store"
_NAME, _FILE = ".shiftsearch-doctor-", "look"


def trouble(url: str) -> str:
    """Why a store cannot be used from this machine, in one line; empty if it can.

    A small file is put into a folder of its own, and both are removed again.

    Args:
        url: without a problem, see `model.remote.url_problem`.
    """
    folder = RemoteFolder(_existing(url)).folder(_NAME + secrets.token_hex(8))
    content = secrets.token_bytes(64)
    doing = "written"
    try:
        folder.write(_FILE, content)
        doing = "read"
        if folder.read(_FILE) != content:
            return "what was written reads back changed"
        doing = "listed"
        if list(folder.files()) != [_FILE]:
            return "what was written is not listed"
        doing = "deleted"
        folder.delete(_FILE)
        folder.remove()
        if folder.find(_FILE) is not None:
            return "what was deleted is still there"
    except OSError as error:
        return f"nothing can be {doing} ({in_words(error)})"
    return ""


def finding(url: str, troubles: Mapping[str, str]) -> Finding:
    """One finding for some machines.

    Args:
        url: of the store; a query is not shown.
        troubles: from `trouble`, by the machine's name.
    """
    where = url.partition("?")[0]
    lines = [f"{name}: {why}" if name else why for name, why in troubles.items() if why]
    if lines:
        advice = "see the URL, the secrets in the environment, and what the bucket's policy allows"
        return Finding(CHECK, "FAIL", f"{where}: {listed(lines)}", advice)
    return Finding(CHECK, "PASS", f"{where}: written, read back, listed and deleted")


def _existing(url: str) -> str:
    """For a folder that does not exist, the nearest one above it, as a URL."""
    if not url.startswith("file:"):
        return url
    path = Path(unquote(urlsplit(url).path))
    while not path.exists():
        path = path.parent
    return path.as_uri()
