"""Where a run lies besides its folder: `RUN/storage.json` says it, and who wrote there last."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.definition import DefinitionError, Experiment
from shiftsearch.experiments.run_folder import NotARun, Run, read_json
from shiftsearch.model.remote import below


@dataclass(frozen=True)
class Place:
    """What `storage.json` holds.

    Attributes:
        storage: the key `storage` of the experiment.
        url: of the run: `storage` and the name of the folder that began it.
        drivers: names of the last drivers that wrote there from this folder; see `claim`.
    """

    storage: str
    url: str
    drivers: tuple[str, ...] = ()


def place_of(run: Run) -> Place | None:
    """Where the run lies besides its folder; None if it lies nowhere else.

    Raises:
        NotARun: `storage.json` is damaged.
    """
    if not run.storage.exists():
        return None
    found = read_json(run.storage)
    try:
        return Place(str(found["storage"]), str(found["url"]), tuple(map(str, found["drivers"])))
    except (LookupError, TypeError):
        raise NotARun(f"{run.storage}: is damaged, it names no place") from None


def note_place(run: Run, place: Place) -> None:
    """Write `storage.json`."""
    content: dict[str, Any] = asdict(place)
    write_atomically(run.storage, json.dumps(content, indent=1).encode())


def placed(experiment: Experiment, run: Run) -> Place | None:
    """Where a search keeps its run besides the folder; None if nowhere.

    Raises:
        DefinitionError: the run began with another `storage`.
        NotARun: `storage.json` is damaged.
    """
    given, known = experiment.storage, place_of(run)
    before = "" if known is None else known.storage
    if given and given != before and run.journal.exists():
        where = f"at {before}" if before else "in its folder alone"
        raise DefinitionError(
            [f"storage: this run is kept {where}, now it is {given}; use another --run for it"]
        )
    if known is not None and given in ("", before):
        return known
    return Place(given, below(given, run.folder.name)) if given else None
