"""Find the image files that paths of a user name: files as they are, folders recursively."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from shiftsearch.data.image_file import SUFFIXES
from shiftsearch.data.os_errors import fault_in

READ = (".npy", *SUFFIXES)
"""Suffixes of the files that are read in folders, in lower case; the files' own in any case."""


def image_paths(paths: Sequence[Path]) -> tuple[list[Path], int, list[str]]:
    """The image files that are named, in the order of the paths.

    A file is taken whatever its suffix. In a folder, files come sorted: those in it, then those
    of each folder inside it. Other files, hidden entries and links to folders are skipped and
    counted.

    Args:
        paths: files and folders.

    Returns:
        The files; the number of entries that were skipped in folders; a line for each folder that
        cannot be listed, and for each path that is neither a file nor a folder (such as a pipe,
        which may never end). A path that does not exist is among the files: reading it fails.

    Raises:
        OSError: the machine is at fault, not a path.
    """
    found: list[Path] = []
    problems: list[str] = []
    skipped = 0

    def note(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be listed: {fault_in(error.filename, error)}")

    for path in paths:
        if not path.is_dir():
            if path.exists() and not path.is_file():
                problems.append(f"{path}: is neither a file nor a folder")
            else:
                found.append(path)
            continue
        for here, folders, files in os.walk(path, onerror=note):
            inside = [name for name in folders if not (name[0] == "." or _is_link(here, name))]
            kept = [name for name in files if _is_image(here, name)]
            skipped += len(folders) - len(inside) + len(files) - len(kept)
            folders[:] = sorted(inside)
            found += [Path(here, name) for name in sorted(kept)]
    return found, skipped, problems


def _is_image(folder: str, name: str) -> bool:
    if name[0] == "." or not name.lower().endswith(READ):
        return False
    # A dangling link is an image, so that reading it reports it; a pipe would block,
    # and a link to a device may never end.
    path = f"{folder}/{name}"
    return os.path.isfile(path) or (_is_link(folder, name) and not os.path.exists(path))  # noqa: PTH110, PTH113


def _is_link(folder: str, name: str) -> bool:
    return os.path.islink(f"{folder}/{name}")  # noqa: PTH114 - no path is made for each entry
