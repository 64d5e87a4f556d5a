"""The paths in a run folder, and its store."""

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
    """The absolute path of a file or folder that a user gave, on a command line or in a file.

    A `~` or `~NAME` at the beginning is a home folder, if there is one, as in a shell.
    """
    # Path.expanduser raises an error if there is no home folder.
    return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111


def beside(file: Path, folder: str) -> str:
    """The path of a folder that a file names; a relative one lies beside the file.

    If it is only in the current folder, that one is meant: earlier versions looked nowhere else.
    """
    own, here = file.parent / folder, user_path(folder)
    return folder if here == Path(folder) or (here.exists() and not own.exists()) else str(own)


class NotARun(ValueError):  # noqa: N818, named by its cause
    """The folder is not a run, or an unfinished one; the message says which."""


def read_json(path: Path) -> Any:
    """The value in a JSON file of a run.

    Raises:
        NotARun: it is not JSON. Every file is written in one step, so it was damaged later.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise NotARun(f"{path}: is damaged, it is not JSON: {error}") from None


@dataclass(frozen=True)
class Run:
    """The paths in a run's folder, and its store.

    Attributes:
        folder: absolute path of the folder.
    """

    folder: Path

    @property
    def definition(self) -> Path:
        """The experiment with every key."""
        return self.folder / "experiment.yaml"

    @property
    def journal(self) -> Path:
        """The study's journal."""
        return self.folder / "study.journal"

    @property
    def pack(self) -> Path:
        """The packed dataset, for the workers."""
        return self.folder / "dataset"

    @property
    def network(self) -> Path:
        """The source of the person's own network, for the workers."""
        return self.folder / "network"

    @property
    def store(self) -> Store:
        """The store of all stages."""
        from shiftsearch.model.remote import below
        from shiftsearch.model.store import open_store  # imports torch, which few need

        url = read_json(self.storage)["url"] if self.storage.exists() else ""
        return open_store(below(url, "store") if url else self.folder / "store")

    @property
    def storage(self) -> Path:
        """Where the run lies besides this folder, see `experiments.storage.place`."""
        return self.folder / "storage.json"

    @property
    def arriving(self) -> Path:
        """The journal of a run that is being brought from there."""
        return self.folder / ".study.journal.arriving"

    @property
    def result(self) -> Path:
        """The result of the search."""
        return self.folder / "result.json"

    @property
    def bundle(self) -> Path:
        """The exported model."""
        return self.folder / "best"

    def exported(self, number: int) -> Path:
        """Where `export --trial NUMBER` writes unless another folder is given."""
        return self.folder / f"trial-{number}"

    @property
    def looks(self) -> Path:
        """The list of all looks at the held-out part."""
        return self.folder / "looks.json"

    @property
    def retrained(self) -> Path:
        """The results of retraining."""
        return self.folder / "retrain.json"

    @property
    def trials(self) -> Path:
        """The table of all trials."""
        return self.folder / "trials.csv"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files, one folder per job: those that are shown first."""
        return self.folder / "tensorboard"

    @property
    def every_tensorboard(self) -> Path:
        """The other folders of event files, and a link to those that are shown first."""
        return self.folder / "tensorboard-all"

    @property
    def commands(self) -> Path:
        """Requests to the driver, and its answers."""
        return self.folder / "commands"

    @property
    def status(self) -> Path:
        """The state of the run, written by its driver while it runs."""
        return self.folder / "status.json"

    @property
    def lock(self) -> Path:
        """The lock that the run's driver holds."""
        return self.folder / "run.lock"

    @property
    def ray(self) -> Path:
        """Ray's own files, which are not needed afterwards."""
        return self.folder / "ray"

    def refuse_other_content(self) -> None:
        """Refuse a folder that is neither a run nor empty.

        Raises:
            NotARun: it is a file, or holds something else.
        """
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise NotARun(f"{folder}: is a file, but must be the folder of a run, or a new one")
        # A start that died early leaves only these.
        own = (self.lock, self.storage)
        others = folder.exists() and any(path not in own for path in folder.iterdir())
        begun = self.journal.exists() or self.arriving.exists()
        if others and not begun:
            raise NotARun(f"{folder}: is not empty, and not a run; use another --run")

    def tidy(self) -> None:
        """Remove what killed processes left: half-written entries and Ray's own files."""
        self.store.tidy()
        shutil.rmtree(self.ray, ignore_errors=True)
