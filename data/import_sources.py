"""Where `data import` finds images: folders of pictures, a CSV, IDX files or NPZ archives."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from shiftsearch.data.class_names import class_names
from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.idx import read_idx
from shiftsearch.data.image_arrays import image_arrays
from shiftsearch.data.image_file import SUFFIXES
from shiftsearch.data.npz import read_npz
from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.problems import named
from shiftsearch.data.reading import AS_IT_IS, Reading, split_folders
from shiftsearch.data.scale import Pixels
from shiftsearch.data.scan import scan_folder
from shiftsearch.data.weights import Weights


@dataclass
class Found:
    """What a source holds; pictures are not decoded yet.

    Attributes:
        images: each image, a picture file or an array [H, W], by its place in the dataset folder:
            `TRAIN/cat/a.png`, without the suffix .npy.
        problems: one line each.
        warnings: one line each.
        strays: number of entries that were skipped.
        weights: by split, those of its images in their order; see `data.weights`.
    """

    images: dict[str, Path | Pixels] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    strays: int = 0
    weights: Mapping[str, Weights] = field(default_factory=dict)

    @property
    def classes(self) -> set[str]:
        """The names of the classes."""
        return {place.split("/")[1] for place in self.images}


def find_images(source: Path, classes: Sequence[str] = (), how: Reading = AS_IT_IS) -> Found:
    """Find the images of a source of any kind.

    - a folder SOURCE/{TRAIN,TEST,TEST2}/<class>/* of PNG, JPEG, BMP or TIFF files, with these or
      other names of the splits, see `data.reading`;
    - IDX: a folder with files named `TRAIN-images*` and `TRAIN-labels*`, and so on, in any case of
      letters and gzipped or not, as `train-images-idx3-ubyte.gz`;
    - NPZ: one file with the arrays `TRAIN_images`, `TRAIN_labels` and so on, or a folder with
      `TRAIN.npz` and so on with the arrays `images` and `labels`;
    - CSV: one file with the columns `path`, `label` and `split`, or a folder with `TRAIN.csv` and
      so on with `path` and `label`. Paths are relative to the file.

    Images of arrays are [N, H, W], [N, H, W, 1] or [N, 1, H, W], and labels are numbers or text.

    Args:
        source: file or folder.
        classes: names of the classes, of which labels are positions; see `data.class_names`.
        how: the names of the splits, if it is a folder of pictures.

    Raises:
        DataError: the source is missing, or no file of it can be read.
        OSError: the machine is at fault, not the source.
    """
    suffix = source.suffix.lower()
    if source.is_file() and suffix == ".npz":
        names = [f"{split}_{what}" for split in SPLITS for what in ("images", "labels")]
        held = read_npz(source, names)
        return _of_arrays(
            {f"{source}: {s}": (held[f"{s}_images"], held[f"{s}_labels"]) for s in SPLITS}, classes
        )
    if source.is_file() and suffix == ".csv":
        return _of_rows(source.parent, _read_csv(source, ("path", "label", "split")), classes)
    if source.is_dir():
        for pattern, read in _KINDS.items():
            if any((found := _split_files(source, pattern)).values()):
                return read(_one_each(source, found, pattern), classes)
    elif source.exists():
        raise DataError([f"{source}: is a file, but must be a folder, an .npz or a .csv file"])
    return _of_folder(source, classes, how)


def _of_folder(source: Path, classes: Sequence[str], how: Reading) -> Found:
    if classes:
        raise DataError(["--classes: the classes of pictures in folders are the folders' names"])
    scan = scan_folder(source, SUFFIXES, names=split_folders(source, how))
    images: dict[str, Path | Pixels] = {
        f"{split}/{label}/{Path(file).name}": source / file
        for split, by_class in scan.files.items()
        for label, files in sorted(by_class.items())
        for file in files
    }
    weights, wrong = scan.weights()
    left_out = scan.warnings[1:] if scan.strays else scan.warnings
    return Found(images, [*scan.problems, *wrong], left_out, scan.strays, weights)


def _split_files(folder: Path, pattern: str) -> dict[str, list[Path]]:
    """The files of a folder whose names are a split and match the pattern, by split."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise DataError([f"{folder}: cannot be listed: {fault_in(folder, error)}"]) from error
    return {
        split: [folder / name for name in names if re.fullmatch(split + pattern, name, re.I)]
        for split in SPLITS
    }


def _one_each(folder: Path, found: Mapping[str, list[Path]], pattern: str) -> dict[str, Path]:
    """The single file of each split.

    Raises:
        DataError: a split has none, or several.
    """
    problems = [
        f"{folder}: {split}{_SAID[pattern]}: found"
        f" {named([file.name for file in files]) or 'none'}, but there must be one"
        for split, files in found.items()
        if len(files) != 1
    ]
    if problems:
        raise DataError(problems)
    return {split: files[0] for split, files in found.items()}


def _of_idx(files: Mapping[str, Path], classes: Sequence[str]) -> Found:
    folder = files["TRAIN"].parent
    labels = _one_each(folder, _split_files(folder, _IDX_LABELS), _IDX_LABELS)
    return _of_arrays(
        {f"{file}: {s}": (read_idx(file), read_idx(labels[s])) for s, file in files.items()},
        classes,
    )


def _of_npz(files: Mapping[str, Path], classes: Sequence[str]) -> Found:
    arrays = {}
    for split, file in files.items():
        held = read_npz(file, ("images", "labels"))
        arrays[f"{file}: {split}"] = held["images"], held["labels"]
    return _of_arrays(arrays, classes)


def _of_csv(files: Mapping[str, Path], classes: Sequence[str]) -> Found:
    rows = [
        row._replace(split=split)
        for split, file in files.items()
        for row in _read_csv(file, ("path", "label"))
    ]
    return _of_rows(files["TRAIN"].parent, rows, classes)


_IDX_IMAGES, _IDX_LABELS = r"[-_. ]images\b.*", r"[-_. ]labels\b.*"
_KINDS: Mapping[str, Callable[[Mapping[str, Path], Sequence[str]], Found]] = {
    r"\.npz": _of_npz,
    r"\.csv": _of_csv,
    _IDX_IMAGES: _of_idx,
}
"""How a folder with a file for each split is read, by the pattern of the files' names."""
_SAID = {r"\.npz": ".npz", r"\.csv": ".csv", _IDX_IMAGES: "-images*", _IDX_LABELS: "-labels*"}


def _of_arrays(
    arrays: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], classes: Sequence[str]
) -> Found:
    """Images and labels of TRAIN, TEST and TEST2, by a place for messages."""
    found = Found()
    labels: dict[str, list[int] | list[str]] = {}
    for place, (images, own) in arrays.items():
        if own.ndim != 1 or own.dtype.kind not in "iuU":
            found.problems.append(
                f"{place}: labels of shape {own.shape} and type {own.dtype.name}, but must be (N,)"
                " whole numbers or text"
            )
        elif len(own) != len(images) if images.ndim else True:
            count = images.shape[0] if images.ndim else 0
            found.problems.append(f"{place}: {count} images, but {len(own)} labels")
        else:
            labels[place] = own.tolist()
    stacks, problems, found.warnings = image_arrays(
        {p: images for p, (images, _) in arrays.items()}
    )
    names, wrong = class_names(labels, classes)
    found.problems += [*problems, *wrong]
    if not found.problems:
        for split, place in zip(SPLITS, arrays, strict=True):
            digits = max(4, len(str(len(names[place]) - 1)))
            for number, name in enumerate(names[place]):
                found.images[f"{split}/{name}/{number:0{digits}d}"] = stacks[place][number]
    return found


class _Row(NamedTuple):
    place: str
    """File and line, for messages."""
    path: str
    label: str
    split: str = ""


def _read_csv(file: Path, columns: Sequence[str]) -> list[_Row]:
    """The rows of a CSV file in UTF-8 with these columns; other columns are left alone.

    Raises:
        DataError: the file cannot be read, or with a line for each row that lacks a value.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            given = [name or "" for name in reader.fieldnames or ()]
            if missing := [name for name in columns if name not in given]:
                raise DataError(
                    [
                        f"{file}: has no column {' or '.join(missing)}; its first line is"
                        f" {named(given, most=10)!r:.200}"
                    ]
                )
            rows = [
                _Row(f"{file}, line {reader.line_num}", *(row[name].strip() for name in columns))
                for row in reader
            ]
    except OSError as error:
        raise DataError([f"{file}: cannot be read: {fault_in(file, error)}"]) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError([f"{file}: cannot be read as CSV in UTF-8: {error}"]) from error
    return rows


def _of_rows(folder: Path, rows: Sequence[_Row], classes: Sequence[str]) -> Found:
    """Picture files named in rows, relative to the folder."""
    found = Found()
    labels = {row.place: [row.label] for row in rows}
    names, found.problems = class_names(labels, classes)
    counts: Counter[str] = Counter()
    for row in rows:
        path = folder / row.path
        if row.split not in SPLITS:
            found.problems.append(
                f"{row.place}: split is {row.split!r}, but must be {', '.join(SPLITS)}"
            )
        elif path.suffix.lower() not in SUFFIXES or "\0" in row.path:
            found.problems.append(
                f"{row.place}: path is {row.path!r}, but must end in {', '.join(SUFFIXES)}"
            )
        elif path.exists() and not path.is_file():
            found.problems.append(f"{row.place}: {row.path!r} is not a file")
        else:
            number = counts[row.split]
            found.images[f"{row.split}/{names[row.place][0]}/{number:06d}"] = path
        counts[row.split] += 1
    return found
