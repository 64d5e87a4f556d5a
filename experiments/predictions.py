"""The command `predict`: the class and probability of image files, as text, JSON or CSV."""

from __future__ import annotations

import csv
import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import Progress

from shiftsearch.data.dataset import DataError
from shiftsearch.data.image_paths import READ, image_paths
from shiftsearch.data.problems import MAX_PROBLEMS
from shiftsearch.experiments.exits import DONE, SOME_UNREADABLE, WRONG_INPUT, escaped
from shiftsearch.experiments.own_network import load_with
from shiftsearch.experiments.run_folder import user_path
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.device import choose_device
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.model.predictions import Prediction, Remarks, predictions

INPUT_ERRORS = (DataError, BundleError, OwnNetworkError)
"""Errors in the user's input; each has `problems`."""

Named: TypeAlias = tuple[str, Prediction]
"""The name of a file as it is printed, and its prediction."""


def predict(options: Namespace, console: Console) -> int:
    """`shiftsearch predict`.

    Returns:
        0 if all files were read, 4 if some were not, 2 if none was.
    """
    bundle = load_with(options.bundle, options.network)
    files, names, skipped, problems = _files(options.files)
    if not (files or problems):
        where = ", ".join(map(str, options.files))
        raise DataError([f"{where}: holds no image file: {', '.join(READ)}"])
    device = choose_device(gpus=None)
    device.apply()
    complaints, remarks = _Complaints(), Remarks()
    for problem in problems:
        complaints.add(problem)
    found = predictions(bundle, files, device, remarks)
    write = _json if options.json else _csv if options.csv else _text
    named = zip(names, _watched(found, len(files), complaints), strict=True)
    write(named, bundle.record.classes, options.all)
    complaints.close()
    if skipped:
        _say(f"skipped entries of folders, which are not image files: {skipped}")
    for line in remarks.lines(bundle):
        _say(f"warning: {line}")
    if complaints.count and remarks.read:
        _say(f"files and folders that could not be read: {complaints.count}")
        return SOME_UNREADABLE
    return WRONG_INPUT if complaints.count else DONE


def _files(given: Sequence[str]) -> tuple[list[Path], list[str], int, list[str]]:
    """As `image_paths`, with the name of each file as the user would write it after the paths."""
    files: list[Path] = []
    names: list[str] = []
    skipped, problems = 0, []
    for one in given:
        path = user_path(one)
        found, left_out, wrong = image_paths([path])
        files += found
        names += [one if f == path else os.path.join(one, f.relative_to(path)) for f in found]  # noqa: PTH118
        skipped += left_out
        problems += wrong
    return files, names, skipped, problems


class _Complaints:
    """Prints a line for each file that could not be read, and counts those after the 20th."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if self.count <= MAX_PROBLEMS:
            _say(problem)

    def close(self) -> None:
        if self.count > MAX_PROBLEMS:
            _say(f"and {self.count - MAX_PROBLEMS} more")


def _say(line: str) -> None:
    """Print a line on standard error; standard output has rows only."""
    print(escaped(line), file=sys.stderr)


def _watched(
    found: Iterator[Prediction], total: int, complaints: _Complaints
) -> Iterator[Prediction]:
    """Complain of each file that could not be read; show progress if only that is on a terminal.

    Where the rows themselves are on the terminal, they are the progress.
    """
    bar = Progress(
        console=Console(file=sys.stderr),
        transient=True,
        redirect_stdout=False,
        disable=not sys.stderr.isatty() or sys.stdout.isatty(),
    )
    with bar:
        for one in bar.track(found, total=total, description="images"):
            if one.error:
                complaints.add(one.error)
            yield one


def _best(one: Prediction, classes: Sequence[str]) -> tuple[str, list[float]] | None:
    """The most probable class, and the probabilities of all; None if the file was not read.

    Probabilities have the fewest decimals that give the same float32.
    """
    if one.probabilities is None:
        return None
    values = [float(str(value)) for value in one.probabilities]
    return classes[int(one.probabilities.argmax())], values


def _text(found: Iterable[Named], classes: Sequence[str], has_all: bool) -> None:
    """Lines of file, class and probability, separated by tabs; files with an error have none."""
    for file, one in found:
        if best := _best(one, classes):
            name, values = best
            cells = [file, name, f"{max(values):.4f}"]
            if has_all:
                cells += [f"{c}={v:.4f}" for c, v in zip(classes, values, strict=True)]
            print("\t".join(map(escaped, cells)))


def _json(found: Iterable[Named], classes: Sequence[str], has_all: bool) -> None:
    """One document: a list of an object for each file, written one after the other."""
    separator = "["
    for file, one in found:
        row: dict[str, Any] = {"file": file}
        if best := _best(one, classes):
            row["class"], row["probability"] = best[0], max(best[1])
            if has_all:
                row["probabilities"] = dict(zip(classes, best[1], strict=True))
        else:
            row["error"] = one.error
        print(f"{separator}\n{json.dumps(row, allow_nan=False)}", end="")
        separator = ","
    print("[]" if separator == "[" else "\n]")


def _csv(found: Iterable[Named], classes: Sequence[str], has_all: bool) -> None:
    """A header and a line for each file; cells that do not apply are empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    extra = [f"probability.{name}" for name in classes] if has_all else []
    writer.writerow(["file", "class", "probability", *extra, "error"])
    for file, one in found:
        cells: list[object] = ["", "", *[""] * len(extra)]
        if best := _best(one, classes):
            cells = [best[0], max(best[1]), *(best[1] if has_all else [])]
        writer.writerow([file, *cells, one.error])
