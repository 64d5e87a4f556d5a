"""List a dataset folder, DIR/{TRAIN,TEST,TEST2}/<class>/*, and check its layout.

No image is read here. Classes are the sorted folder names, so a stray file never shifts a label.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.import_record import (
    IMPORT_RECORD,
    NOT_IMPORTED,
    ImportRecord,
    read_import_record,
)
from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.problems import named
from shiftsearch.data.weights import WEIGHTED, WEIGHTS, Weights, read_weights

_RULES = "3"
"""Raised when the same files are read in another way, so that older packs are not used."""


@dataclass
class Scan:
    """The contents of a dataset folder; no image is read.

    Attributes:
        folder: the dataset folder.
        splits: the splits that are read.
        names: the name of each split's folder.
        suffixes: suffixes of the image files, in lower case.
        files: split -> class -> sorted paths of the image files, relative to `folder`.
        strays: number of entries that are not part of the layout.
        misplaced: folder, relative to `folder` -> number of images in it that are left out,
            because they lie beside the class folders or in folders inside them.
        imported: what `data import` noted about the source of the images.
        weighted: splits that have a file of weights, see `data.weights`.
        problems: faults of the layout, one line each.
        signature: hex digest over relative path, size and modification time of every entry.
    """

    folder: Path
    suffixes: tuple[str, ...] = (".npy",)
    splits: tuple[str, ...] = SPLITS
    names: Mapping[str, str] = field(
        default_factory=lambda: dict(zip(SPLITS, SPLITS, strict=True))
    )
    files: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    strays: int = 0
    misplaced: Counter[str] = field(default_factory=Counter)
    imported: ImportRecord = NOT_IMPORTED
    weighted: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    signature: str = ""
    _seen: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Sorted names of the classes of all splits."""
        return sorted({name for by_class in self.files.values() for name in by_class})

    @property
    def warnings(self) -> list[str]:
        """A line for each kind of entry that was left out."""
        lines = []
        if self.strays:
            lines.append(
                f"{self.folder}: skipped stray entries, which are not"
                f" {' or '.join(self.suffixes)} files in a class folder: {self.strays}"
            )
        if self.misplaced:
            where = named([f"{place} ({count})" for place, count in self.misplaced.items()])
            lines.append(
                f"{self.folder}: left out images in subfolders of class folders:"
                f" {self.misplaced.total()}, in {where}; move them up one folder to have them read"
            )
        return lines

    def weights(self) -> tuple[dict[str, Weights], list[str]]:
        """By split, the weights of its images in the order of class and file; and problems."""
        found: dict[str, Weights] = {}
        problems = []
        for split in self.weighted if not self.problems else ():
            files = [f for by in sorted(self.files[split].items()) for f in by[1]]
            names = [file.removeprefix(f"{self.names[split]}/") for file in files]
            read = read_weights(self.folder_of(split) / WEIGHTS, names)
            if isinstance(read, list):
                problems += read
            else:
                found[split] = read
        return found, problems

    def folder_of(self, split: str) -> Path:
        """The folder of a split."""
        return self.folder / self.names[split]

    def counts(self, name: str) -> str:
        """The number of images of a class in each split: `TRAIN 12, TEST 3, TEST2 3`."""
        return ", ".join(f"{s} {len(by.get(name, []))}" for s, by in self.files.items())


def scan_folder(
    path: Path,
    suffixes: tuple[str, ...] = (".npy",),
    splits: tuple[str, ...] = SPLITS,
    names: Mapping[str, str] | None = None,
) -> Scan:
    """List a dataset folder; 70,000 files take about 0.4 s.

    Hidden entries, files with other suffixes, files beside the class folders and folders inside
    them are skipped and counted. Links are followed. A class whose name is written in two Unicode
    forms (composed in one split, decomposed in another) is one class, under the composed name.

    Args:
        path: the folder DIR of DIR/{TRAIN,TEST,TEST2}/<class>/*.
        suffixes: suffixes of the image files, in lower case; the files' own may be in any case.
        splits: the splits that are read; the others may be missing, and are left alone.
        names: the name of each split's folder; None: its own.

    Raises:
        DataError: `path` is missing or is not a folder.
        OSError: the machine is at fault, not the folder.
    """
    if not path.is_dir():
        state = "is a file" if path.exists() else "does not exist"
        raise DataError([f"{path}: {state}, but must be a folder with {', '.join(splits)}"])
    scan = Scan(path, suffixes, splits)
    if names is not None:
        scan.names = names
    top = _list(scan, "", keep=lambda e: e.name in (*scan.names.values(), IMPORT_RECORD))
    folders: dict[str, list[str]] = {}
    for split in splits:
        name, here = scan.names[split], scan.folder_of(split)
        if name not in top:
            needs = (
                f"a dataset has {', '.join(SPLITS)}" if splits == SPLITS else "it must be there"
            )
            scan.problems.append(f"{here}: missing; {needs}")
        elif not here.is_dir():
            scan.problems.append(f"{here}: is a file, but must be a folder of classes")
        else:
            kept = _list(scan, name, keep=lambda e: e.is_dir() or e.name == WEIGHTS)
            folders[split] = [entry for entry in kept if not _is_weights(scan, split, entry)]
    for split, by_class in _by_class(scan, folders).items():
        scan.files[split] = {}
        for label, folder in by_class.items():
            place = f"{scan.names[split]}/{folder}"
            files = _list(scan, place, keep=lambda entry: _is_image(entry, suffixes))
            scan.files[split][label] = [f"{place}/{file}" for file in files]
    if IMPORT_RECORD in top:
        record = read_import_record(path)
        if isinstance(record, str):
            scan.problems.append(record)
        else:
            scan.imported = record
    _check_layout(scan)
    scan.signature = hashlib.blake2b(
        "\n".join([_RULES, *scan._seen]).encode(errors="surrogateescape"), digest_size=16
    ).hexdigest()
    return scan


def _list(scan: Scan, relative: str, keep: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    """Sorted names of the entries of a folder that are kept; the others are counted."""
    kept = []
    try:
        with os.scandir(scan.folder / relative) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                scan._seen.append(f"{relative}/{entry.name}\0{_stamp(entry)}")
                if entry.name.startswith("."):
                    scan.strays += 1
                elif keep(entry):
                    kept.append(entry.name)
                elif not (relative and _note_misplaced(scan, relative, entry)):
                    scan.strays += 1
    except OSError as error:
        folder = scan.folder / relative
        scan.problems.append(f"{folder}: cannot be listed: {fault_in(folder, error)}")
    return kept


def _is_weights(scan: Scan, split: str, name: str) -> bool:
    """Note a split's file of weights; False for a class folder."""
    file = scan.folder_of(split) / name
    if name != WEIGHTS or file.is_dir():
        return False
    scan._seen.append(f"{split} has weights")  # a pack of an earlier version left them out
    scan.weighted.append(split)
    if split not in WEIGHTED:
        scan.problems.append(
            f"{file}: only {' and '.join(WEIGHTED)} may have weights, as nothing is trained on"
            f" {split}"
        )
    return True


def _is_image(entry: os.DirEntry[str], suffixes: tuple[str, ...]) -> bool:
    # A dangling link is an image, so that reading it reports it; a pipe would block,
    # and a link to a device may never end.
    is_file = entry.is_file() or (entry.is_symlink() and not os.path.exists(entry))  # noqa: PTH110
    return is_file and entry.name.lower().endswith(suffixes)


def _note_misplaced(scan: Scan, relative: str, entry: os.DirEntry[str]) -> bool:
    """Count the images in a file or folder that is left out; True if there are any."""
    if _is_image(entry, scan.suffixes):
        scan.misplaced[relative] += 1
        return True
    if not entry.is_dir():
        return False
    count = 0
    for folder, folders, files in os.walk(entry.path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = [f for f in files if f[0] != "." and f.lower().endswith(scan.suffixes)]
        scan._seen += [f"{folder}/{name}" for name in sorted(found)]
        count += len(found)
    if count:
        scan.misplaced[f"{relative}/{entry.name}"] += count
    return count > 0


def _stamp(entry: os.DirEntry[str]) -> str:
    """Size in bytes and modification time in ns; folders and dangling links have none."""
    if entry.is_dir():
        return ""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return ""
    return f"{status.st_size}\0{status.st_mtime_ns}"


def _by_class(scan: Scan, folders: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """Split -> class -> name of its folder.

    A class is named as its folder is, unless two splits write it in different Unicode forms.
    """
    forms: dict[str, set[str]] = {}
    for names in folders.values():
        for name in names:
            forms.setdefault(unicodedata.normalize("NFC", name), set()).add(name)
    result: dict[str, dict[str, str]] = {}
    for split, names in folders.items():
        own = result[split] = {}
        for name in names:
            composed = unicodedata.normalize("NFC", name)
            label = composed if len(forms[composed]) > 1 else name
            if label in own:
                scan.problems.append(
                    f"{scan.folder_of(split)}: the folders {own[label]!a} and {name!a} have the"
                    " same name in two Unicode forms; keep one"
                )
            own[label] = name
    return result


def _check_layout(scan: Scan) -> None:
    """Note empty splits, classes that are not in all splits, and classes without images."""
    for split, by_class in scan.files.items():
        here = scan.folder_of(split)
        if not by_class:
            scan.problems.append(f"{here}: holds no class folders, but must hold at least one")
            continue
        for name in scan.classes:
            if name not in by_class:
                where = next(s for s in SPLITS if name in scan.files.get(s, {}))
                scan.problems.append(
                    f"{here}: class {name!r} is missing, but is in {where};"
                    " every class must be in all splits"
                )
            elif not by_class[name]:
                inside = sum(
                    count
                    for p, count in scan.misplaced.items()
                    if p.startswith(f"{scan.names[split]}/{name}/")
                )
                scan.problems.append(
                    f"{here / name}: holds no {' or '.join(scan.suffixes)} file"
                    + (f" itself, but {inside} in folders inside it" if inside else "")
                    + "; every class must have at least one"
                )
    for name in scan.classes:
        if not name.isprintable():
            scan.problems.append(f"class {name!r}: a class name must be printable text")
    if len(scan.classes) == 1 and not scan.problems:
        (only,) = scan.classes
        scan.problems.append(
            f"{scan.folder}: holds one class, {only!r} (images: {scan.counts(only)}), but there"
            " must be at least two"
        )
