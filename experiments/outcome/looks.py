"""Looks at the held-out part of TEST2, which are counted.

Every look is written to `RUN/looks.json` before it is taken, so that it is counted even if the
process dies.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.run_folder import NotARun, read_json

if TYPE_CHECKING:
    from shiftsearch.experiments.outcome.retrain import Candidate


def count_looks(path: Path, scored: Mapping[str, Candidate], held_out: bool) -> None:
    """Record the looks at the held-out part that the final evaluation will take.

    Args:
        path: the file `looks.json`.
        scored: the configurations, by title.
        held_out: whether anything is held out.
    """
    looks = [
        {"configuration": title, "replicate": r, "stage": s, "purpose": "final evaluation"}
        for title, candidate in scored.items()
        for r in sorted(candidate.results)
        for s in ("before", "after")
    ]
    note_looks(path, looks if held_out else [])


def count_model_looks(path: Path, replicate: int, held_out: bool) -> None:
    """Record the looks that scoring the exported model will take, before and after fine-tuning.

    Args:
        path: the file `looks.json`.
        replicate: that of the training that names the model.
        held_out: whether anything is held out.
    """
    looks = [
        {"configuration": "model", "replicate": replicate, "stage": s, "purpose": "export"}
        for s in ("before", "after")
    ]
    note_looks(path, looks if held_out else [])


def looks_so_far(path: Path) -> list[dict[str, Any]]:
    """All looks in `looks.json`.

    Raises:
        experiments.run_folder.NotARun: the file is damaged.
    """
    looks = read_json(path) if path.exists() else []
    if not (isinstance(looks, list) and all(isinstance(look, dict) for look in looks)):
        raise NotARun(f"{path}: is damaged, it holds no list of looks")
    return looks


def note_looks(path: Path, looks: Sequence[Mapping[str, Any]]) -> None:
    """Add looks to `looks.json`, before they are taken.

    A second lock file is held from reading to writing, so that processes that count at the same
    time wait for each other. (The file itself is replaced, so a lock on it would be lost.)
    """
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = json.dumps([*looks_so_far(path), *looks], indent=1)
        write_atomically(path, text.encode())
