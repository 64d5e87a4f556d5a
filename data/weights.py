"""Weights of images: SPLIT/weights.csv beside the class folders of a split.

The file has the columns `path`, relative to the split's folder as in `a/0001.npy`, and `weight`, a
finite number >= 0, with one row for each image. Only ratios count. TEST2 has none, because nothing
is trained on it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.os_errors import fault_in

WEIGHTS = "weights.csv"
WEIGHTED = ("TRAIN", "TEST")
"""The splits whose images may have weights."""

Weights = NDArray[np.float64]
_HEADER = ["path", "weight"]


def read_weights(file: Path, names: Sequence[str]) -> Weights | list[str]:
    """The weights of the images of a split, in the order of `names`; [n] float64 >= 0.

    Args:
        file: SPLIT/weights.csv.
        names: paths of the split's images, relative to SPLIT, with `/`.

    Returns:
        The weights, or a line for each problem.

    Raises:
        OSError: the machine is at fault, not the file.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        return [f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})"]
    except OSError as error:
        return [f"{file}: cannot be read: {fault_in(file, error)}"]
    rows = csv.reader(io.StringIO(text, newline=""))
    header = next(rows, [])
    if header != _HEADER:
        return [f"{file}:1: columns are {','.join(header)!r}, but must be {','.join(_HEADER)!r}"]
    known, found = set(names), dict[str, float]()
    problems = []
    for row in rows:
        if row:
            problem = _take(row, known, found)
            problems += [f"{file}:{rows.line_num}: {problem}"] if problem else []
    missing = [name for name in names if name not in found]
    if not problems:
        problems = [
            f"{file}: {name} has no row, but every image must have one" for name in missing
        ]
    if not problems and not any(found.values()):
        problems = [f"{file}: all weights are 0, but at least one must be above 0"]
    return problems or np.array([found[name] for name in names])


def _take(row: Sequence[str], known: set[str], found: dict[str, float]) -> str:
    """Note the weight of a row; returns what is wrong with the row, or nothing."""
    if len(row) != len(_HEADER):
        return f"has {len(row)} values, but must have {len(_HEADER)}"
    name, text = row
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if name not in known:
        return f"{name!r} is no image of this split; a path is <class>/<file>"
    if name in found:
        return f"{name!r} has an earlier row, but must have one"
    if not math.isfinite(weight) or weight < 0:
        return f"weight of {name} is {text!r}, but must be a finite number >= 0"
    found[name] = weight
    return ""


def write_weights(file: Path, weights: Mapping[str, float]) -> None:
    """Write a file that `read_weights` reads back exactly; `weights` by path.

    Raises:
        OSError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([_HEADER, *([name, repr(float(w))] for name, w in weights.items())])
    file.write_text(text.getvalue(), encoding="utf-8")


def mean_one(weights: Weights) -> Weights:
    """The weights divided by their mean; [n] float64 >= 0, at least one above 0."""
    scaled = weights / weights.max()  # so that no sum overflows
    found: Weights = scaled / scaled.mean()
    return found


def effective_number(weights: Weights) -> float:
    """How many equally weighted images tell as much: (sum)^2 / sum of squares, 1 to n.

    Source: Kish 1965, Survey Sampling, section 8.2.
    """
    scaled = weights / weights.max()
    return float(scaled.sum() ** 2 / (scaled**2).sum())
