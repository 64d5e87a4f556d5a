"""The JSON files of a run that are damaged, found before anything is trained.

Every file is written in one step, so a damaged one was changed afterwards: by a failing disk, a
copy that was cut off, or an editor. The study's journal is checked where it is opened, entries of
the store where they are read. Needs neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.result_rows import read_result
from shiftsearch.experiments.outcome.training import read_trainings
from shiftsearch.experiments.run_folder import NotARun, Run

_READERS: Mapping[str, Callable[[Path], Any]] = {
    "looks.json": looks_so_far,
    "retrain.json": read_trainings,
    "result.json": read_result,
}
_MADE_AGAIN = ("retrain.json", "result.json")
"""Files that a search makes again: from the store, and from the trainings."""


def damaged(run: Run) -> dict[Path, str]:
    """The damaged files of a run, each with one line that says what is wrong with it."""
    found = {}
    for name, read in _READERS.items():
        path = run.folder / name
        if path.exists():
            try:
                read(path)
            except NotARun as error:
                found[path] = str(error)
    return found


def mend(run: Run, tell: Callable[[str], None]) -> None:
    """Set damaged files aside that a search makes again.

    Args:
        run: a locked run, or a new one.
        tell: called with one line for each such file.

    Raises:
        NotARun: a file is damaged that cannot be made again; nothing is changed.
    """
    found = damaged(run)
    for path, line in found.items():
        if path.name not in _MADE_AGAIN:
            rule = "restore it; or remove it, and the looks until now are not counted any more"
            raise NotARun(f"{line}; {rule}")
    for path, line in found.items():
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        tell(f"{line}; it is kept as {aside.name}, and made again")
