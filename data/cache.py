"""Packs: a dataset in a few plain .npy files that memory-map, so small files are read once.

A pack is a folder with `pack.json` and two to four .npy files for each split: images and labels,
and weights and names of files if there are any. Nothing in it is pickled. `open_dataset` keeps one
for each dataset folder in $SHIFTSEARCH_CACHE, else in $XDG_CACHE_HOME/shiftsearch, else in
~/.cache/shiftsearch. Runs keep their own for their workers.

`open_dataset` compares the relative path, size and modification time (ns) of every entry of the
dataset folder, so it notices a changed, added or removed file. It does not notice a change that
keeps both size and time. It then hashes the pack, so that a damaged one is never used.

70,000 files of 28x28 uint8: the first read and packing take 6.4 s; afterwards 0.34 to 0.52 s:
0.31 to 0.47 s to compare the folder, 0.05 s to hash the pack and 0.002 s to open it, which is all
that `open_pack` does (2 cores, ext4, numpy 2, n = 5, other work on the machine).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import SPLITS, DataError, Dataset, Split
from shiftsearch.data.fitting import DEFAULT_ASPECT
from shiftsearch.data.image_file import SUFFIXES
from shiftsearch.data.mounts import is_local
from shiftsearch.data.os_errors import said
from shiftsearch.data.picture_folder import read_any, suffixes_in
from shiftsearch.data.publishing import save_array, written_beside
from shiftsearch.data.reading import AS_IT_IS, Reading, split_folders
from shiftsearch.data.scale import FULL_BITS, SCALES
from shiftsearch.data.scan import scan_folder

FORMAT = 1
_RECORD = "pack.json"
_OPTIONAL = {"weights": "weighted", "files": "with_files"}
"""Fields of a split that it may lack, and the lists in the record of the splits that have them."""


def open_dataset(
    path: Path,
    cache: Path | None = None,
    splits: tuple[str, ...] = SPLITS,
    how: Reading = AS_IT_IS,
) -> tuple[Dataset, list[str]]:
    """Read a dataset folder, or open the pack of an earlier read if nothing changed since.

    A folder without any .npy file is read as one of pictures, see `data.picture_folder`.

    If the cache cannot be read or written, there is a warning and no error. The pack of an earlier
    state of the folder is removed.

    Args:
        path: DIR/{TRAIN,TEST,TEST2}/<class>/*, of .npy files or of pictures.
        cache: folder for packs, instead of the one that the environment names.
        splits: the splits that are needed. If the folder lacks another one, only these are read,
            and not packed.
        how: the names of the splits, and how pictures are read.

    Returns:
        The dataset, memory-mapped if it was packed, and a line for each thing the user should
        know.

    Raises:
        DataError: `path` holds no valid dataset.
    """
    dataset, warnings = _open(path, cache, splits, how)
    if how.size not in (None, dataset.image_size):
        wanted, found = ("x".join(map(str, size)) for size in (how.size, dataset.image_size))
        rule = f"which are read as they are, but the size {wanted} is asked for"
        raise DataError([f"{path}: holds .npy files of {found} pixels, {rule}"])
    return dataset, warnings


def _open(
    path: Path, cache: Path | None, splits: tuple[str, ...], how: Reading
) -> tuple[Dataset, list[str]]:
    names = split_folders(path, how, splits)
    suffixes = suffixes_in(path, names)
    if not all((path / name).is_dir() for name in names.values()):
        return read_any(scan_folder(path, suffixes, splits, names), how)
    scan = scan_folder(path, suffixes, names=names)
    place = os.fsencode(path.resolve())
    if suffixes == SUFFIXES:  # read in another way, it is another dataset
        place += repr((how.size, how.aspect, how.bits)).encode()
    key = hashlib.blake2b(place, digest_size=8).hexdigest()
    try:
        folder = cache or _cache_folder()
    except RuntimeError as error:
        dataset, warnings = read_any(scan, how)
        return dataset, [*warnings, f"no cache, so every start reads all files: {error}"]
    pack = folder / f"{key}-{scan.signature}"
    try:
        dataset, warnings = _read_pack(pack)
        if Dataset(dataset.classes, dataset.splits).digest == dataset.digest:
            return dataset, warnings
    except DataError:
        pass  # no pack yet, or a damaged one: it is made anew
    dataset, warnings = read_any(scan, how)
    try:
        _write_pack(dataset, pack, warnings)
        for old in folder.glob(f"{key}-*"):
            if old != pack:
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        return dataset, [
            *warnings,
            f"{folder}: cannot be written, so every start reads all files: {said(error)}",
        ]
    return dataset, warnings


def _cache_folder() -> Path:
    """The folder for packs.

    Raises:
        RuntimeError: the environment names none and there is no home directory.
    """
    if own := os.environ.get("SHIFTSEARCH_CACHE"):
        return Path(own)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "shiftsearch"
    return Path.home() / ".cache" / "shiftsearch"


def save_pack(dataset: Dataset, folder: Path) -> None:
    """Write a pack, replacing the one at `folder`.

    Raises:
        OSError: `folder` cannot be written.
    """
    _write_pack(dataset, folder, [])


def keep_pack(dataset: Dataset, folder: Path) -> None:
    """Make sure that `folder` holds the pack of this dataset; write it only if it does not.

    Raises:
        OSError: `folder` cannot be written.
    """
    try:
        open_pack(folder, digest=dataset.digest)
    except DataError:
        save_pack(dataset, folder)


def _write_pack(dataset: Dataset, folder: Path, warnings: list[str]) -> None:
    optional = {
        listed: [name for name in SPLITS if getattr(dataset.splits[name], kind) is not None]
        for kind, listed in _OPTIONAL.items()
    }
    record = {
        "format": FORMAT,
        "digest": dataset.digest,
        "classes": dataset.classes,
        "scale": dataset.scale,
        "bits": dataset.bits,
        "aspect": dataset.aspect,
        "warnings": warnings,
        **optional,
    }
    with written_beside(folder) as beside:
        for name in SPLITS:
            save_array(beside / f"{name}.images.npy", dataset.splits[name].images)
            save_array(beside / f"{name}.labels.npy", dataset.splits[name].labels)
            for kind, listed in _OPTIONAL.items():
                if name in optional[listed]:
                    save_array(beside / f"{name}.{kind}.npy", getattr(dataset.splits[name], kind))
        (beside / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for path in beside.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)


def open_pack(folder: Path, digest: str | None = None) -> Dataset:
    """Open a pack, memory-mapped; its contents are not hashed.

    Its arrays are read-only on a local file system. Elsewhere they are private to the process and
    writable, see `data.mounts`.

    Args:
        folder: what `save_pack` wrote.
        digest: the digest that the dataset must have; None accepts any dataset.

    Raises:
        DataError: the pack is missing, damaged or of another format, or holds another dataset.
    """
    dataset, _ = _read_pack(folder)
    if digest is not None and digest != dataset.digest:
        raise DataError([f"{folder}: holds dataset {dataset.digest}, but must hold {digest}"])
    return dataset


def _read_pack(folder: Path) -> tuple[Dataset, list[str]]:
    """The dataset, memory-mapped, and the warnings of its first read."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise DataError(
                [f"{folder}: is a pack of format {record['format']}, but must be of {FORMAT}"]
            )

        # What may be written to is copied by `data.tensors`, so no training reads over a network.
        mode: Literal["r", "c"] = "r" if is_local(folder) else "c"

        def part(name: str, kind: str) -> NDArray[Any]:
            file = folder / f"{name}.{kind}.npy"
            found: NDArray[Any] = np.load(file, mmap_mode=mode, allow_pickle=False)
            return found

        splits = {
            name: Split(
                part(name, "images"),
                part(name, "labels"),
                # A list is absent in the pack of an older run.
                **{
                    kind: part(name, kind)
                    for kind, listed in _OPTIONAL.items()
                    if name in record.get(listed, ())
                },
            )
            for name in SPLITS
        }
        scale = record.get("scale")  # absent in the pack of an older run
        if scale not in (None, *SCALES):
            raise ValueError(f"scale is {scale!r}, but must be one of {SCALES}")
        bits = record.get("bits", FULL_BITS)
        aspect = record.get("aspect", DEFAULT_ASPECT)
        dataset = Dataset(tuple(record["classes"]), splits, record["digest"], scale, bits, aspect)
        return dataset, list(record["warnings"])
    except DataError:
        raise
    except Exception as error:  # a damaged header shows as SyntaxError or tokenize.TokenError too
        raise DataError([f"{folder}: is not a complete pack of a dataset: {error}"]) from error
