"""The run folder: every path in it, and its store."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shiftsearch.model.store import Store


def user_path(text: str) -> Path:
    """What a user gave as a file or folder, absolute; the same on every command and in files.

    A `~` or `~NAME` at the beginning is a home folder, if there is one, as in a shell.
    """
    # Path.expanduser raises where there is no home.
    return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111


class NotARun(ValueError):  # noqa: N818, named by its cause
    """The folder holds something else, or an unfinished run; the message says which."""


def read_json(path: Path) -> Any:
    """The value in a JSON file of a run.

    Raises:
        NotARun: it holds something else; all of them are written whole or not at all.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise NotARun(f"{path}: is damaged, no JSON: {error}") from None


@dataclass(frozen=True)
class Run:
    """A run's folder; every path in it, and its store.

    Attributes:
        folder: absolute.
    """

    folder: Path

    @property
    def definition(self) -> Path:
        """The experiment as resolved."""
        return self.folder / "experiment.yaml"

    @property
    def journal(self) -> Path:
        """The study."""
        return self.folder / "study.journal"

    @property
    def pack(self) -> Path:
        """The dataset, packed, for the workers."""
        return self.folder / "dataset"

    @property
    def store(self) -> Store:
        """Stages, by content."""
        from shiftsearch.model.store import open_store  # imports torch, which few need

        return open_store(self.folder / "store")

    @property
    def result(self) -> Path:
        """What came out."""
        return self.folder / "result.json"

    @property
    def bundle(self) -> Path:
        """The exported model."""
        return self.folder / "best"

    @property
    def looks(self) -> Path:
        """Every look at the held-out part."""
        return self.folder / "looks.json"

    @property
    def retrained(self) -> Path:
        """What came of retraining."""
        return self.folder / "retrain.json"

    @property
    def trials(self) -> Path:
        """All trials as a table."""
        return self.folder / "trials.csv"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    @property
    def tensorboard(self) -> Path:
        """Event files, a folder per job."""
        return self.folder / "tensorboard"

    @property
    def commands(self) -> Path:
        """Requests to the driver, and its answers."""
        return self.folder / "commands"

    @property
    def status(self) -> Path:
        """How it goes, written by the run's driver while it lives."""
        return self.folder / "status.json"

    @property
    def lock(self) -> Path:
        """Held by the run's driver."""
        return self.folder / "run.lock"

    @property
    def ray(self) -> Path:
        """Ray's own files; nothing in it is needed afterwards."""
        return self.folder / "ray"

    def refuse_other_content(self) -> None:
        """Refuse a folder that is neither a run nor to become one.

        Raises:
            NotARun: it is a file, or holds something else.
        """
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise NotARun(f"{folder}: is a file, but must be the folder of a run, or a new one")
        # A start that died early leaves the lock and nothing else.
        others = folder.exists() and any(path != self.lock for path in folder.iterdir())
        if others and not self.journal.exists():
            raise NotARun(f"{folder}: is not empty, and not a run; take another --run")

    def tidy(self) -> None:
        """Remove what killed processes left: half-written entries, Ray's own folders."""
        self.store.tidy()
        shutil.rmtree(self.ray, ignore_errors=True)
