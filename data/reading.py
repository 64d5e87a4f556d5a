"""How a folder of images is read: which of its folders are the splits, and the images' size."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.fitting import DEFAULT_ASPECT, Aspect, Size
from shiftsearch.data.npy_image import MIN_SIDE
from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.problems import named
from shiftsearch.data.scale import Bits

MAX_SIDE = 1024

KNOWN = (
    SPLITS,
    ("train", "tune", "target"),
    ("train", "val", "test"),
    ("train", "valid", "test"),
    ("train", "validation", "test"),
)
"""Names of the folders of TRAIN, TEST and TEST2 that are recognised, in any case of letters."""

ROLES: Mapping[str, str] = {"train": "TRAIN", "tune": "TEST", "target": "TEST2"}
"""What options and files call the splits whose folders they name."""

_SAY = (
    "say which is which with --train NAME --tune NAME --target NAME, or with images.train,"
    " images.tune and images.target in an experiment file"
)


@dataclass(frozen=True)
class Reading:
    """How a folder of images is read; without arguments, as the folder itself says.

    Attributes:
        train, tune, target: names of the folders that are TRAIN, TEST and TEST2; empty: they are
            recognised by `KNOWN` names.
        size: height and width of pictures, pixels; None: that of the files, which must be equal.
            .npy files are read as they are.
        aspect: what happens to pictures of another aspect ratio, see `data.fitting`.
        bits: significant bits of 16-bit gray pictures; None: what the largest value needs.
    """

    train: str = ""
    tune: str = ""
    target: str = ""
    size: Size | None = None
    aspect: Aspect = DEFAULT_ASPECT
    bits: Bits | None = None

    @property
    def given(self) -> dict[str, str]:
        """The folders that are named, by split."""
        return {split: name for role, split in ROLES.items() if (name := getattr(self, role))}


AS_IT_IS = Reading()
"""What the folder itself says."""


def parse_size(text: str) -> Size:
    """Height and width of `28`, which is square, or `28x40`.

    Raises:
        ValueError: the text has another form, or a side is not in `MIN_SIDE` to `MAX_SIDE`.
    """
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text.strip())
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise ValueError(
            f"must be N or HxW, height by width in pixels, each {MIN_SIDE} to {MAX_SIDE}"
        )
    return sides


def split_folders(
    path: Path, how: Reading = AS_IT_IS, splits: Sequence[str] = SPLITS
) -> dict[str, str]:
    """The name of the folder of each split in `path`.

    Named folders are taken. The others have the names of the row of `KNOWN` that has all splits
    that are needed, and most of all. A split without a folder has its own name.

    Args:
        path: the folder; if it does not exist, every split has its own name.
        how: the names that were given.
        splits: those that are needed.

    Raises:
        DataError: a named folder is missing or named twice, or the folders cannot be told.
    """
    given = how.given
    present = _folders(path)
    if wrong := [
        f"{path / name}: does not exist, but is named as {split}"
        for split, name in given.items()
        if present and name not in present
    ]:
        raise DataError(wrong)
    if len({*given.values()}) < len(given):
        raise DataError([f"{path}: {', '.join(given.values())}: a folder is named for two splits"])
    found = [row for names in KNOWN if (row := _row(names, present, given, splits))]
    own = {split: given.get(split, split) for split in SPLITS}
    if not present or own in found:
        return own
    found.sort(key=len, reverse=True)
    best = [row for row in found if len(row) == len(found[0])]
    if len({tuple(row.items()) for row in best}) == 1:
        return own | best[0]
    if not best and any(own[split] in present for split in SPLITS):
        return own  # what is missing is told with the layout
    held = f"{path}: holds the folders {named(sorted(present), most=8)}"
    if best:
        raise DataError([f"{held}, which can be read in {len(best)} ways; {_SAY}"])
    known = "; or ".join(", ".join(names) for names in KNOWN[:3])
    raise DataError([f"{held}, but not {known}; {_SAY}"])


def _folders(path: Path) -> set[str]:
    try:
        with os.scandir(path) as entries:
            return {e.name for e in entries if e.is_dir() and not e.name.startswith(".")}
    except FileNotFoundError:
        return set()
    except OSError as error:
        fault_in(path, error)
        return set()


def _row(
    names: Sequence[str], present: set[str], given: Mapping[str, str], splits: Sequence[str]
) -> dict[str, str]:
    """The folders of splits that a row of `KNOWN` finds; empty if a needed one is missing."""
    by_fold = {name.casefold(): name for name in sorted(present, reverse=True)}
    row = dict(given)
    for split, name in zip(SPLITS, names, strict=True):
        if split in given:
            continue
        if name in present:
            row[split] = name
        elif name.casefold() in by_fold:
            row[split] = by_fold[name.casefold()]
    row = {split: row[split] for split in SPLITS if split in row}
    # A TEST without a val may be the split of this name whose TEST2 is missing.
    is_doubtful = names is not SPLITS and len(row) < 3 and not {*row.values()}.isdisjoint(SPLITS)
    return row if all(split in row for split in splits) and not is_doubtful else {}
