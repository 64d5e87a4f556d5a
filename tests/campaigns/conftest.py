"""A small experiment, its undisturbed run, and a process that starts drivers to be killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shiftsearch.data.convert import write_folder
from shiftsearch.data.dataset import Dataset
from tests.campaigns.runs import Starter

EXPERIMENT = """
name: campaign
sampler: random  # each question has its seed: the same suggestions in whatever order
protocol:
  baseline: {max_epochs: 3}
  fine_tune: {max_epochs: 4}
space:
  baseline:
    learning_rate: {low: 3e-4, high: 3e-3, log: true}
    dropout: {low: 0.2, high: 0.6, step: 0.1}
  fine_tune:
    learning_rate: {low: 1e-3, high: 1e-2, log: true}
    frozen_layers: {low: 0, high: 3}
resources: {concurrency: 1}
retrain: {top_k: 1, replicates: 1}
export: {formats: []}
"""


class Bench:
    """Where the campaigns of one session work.

    Attributes:
        data: a dataset folder.
        starter: starts drivers, with strikes.
    """

    TRIALS = 4

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self._folder, self.data = folder, folder / "data"
        write_folder(dataset, self.data)
        self._experiment = folder / "campaign.yaml"
        self._experiment.write_text(EXPERIMENT)
        self.starter = Starter(folder / "log.txt")
        self._undisturbed: subprocess.Popen[bytes] | None = None

    def command(self, run: str | Path, trials: int = TRIALS, *more: str) -> list[str]:
        """Arguments of `shiftsearch` for a run of the experiment."""
        of = ["search", self._experiment, "--data", self.data, "--run", self._folder / run]
        return [str(part) for part in (*of, "--trials", trials, *more)]

    def begin(self) -> None:
        """Start the undisturbed run, as a user would; it goes on beside the tests."""
        with self.starter.log.open("a") as log:
            self._undisturbed = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "shiftsearch.experiments.cli",
                    *self.command("undisturbed"),
                ],
                cwd=self._folder,
                env=self.starter.environment(),
                stdout=log,
                stderr=log,
            )

    def undisturbed(self) -> Path:
        """The folder of the undisturbed run, ended; not to be changed."""
        assert self._undisturbed is not None
        assert self._undisturbed.wait() == 0, self.starter.said()
        return self._folder / "undisturbed"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self._folder / name

    def copy(self, name: str) -> Path:
        """A copy of the undisturbed run."""
        copy = shutil.copytree(self.undisturbed(), self._folder / name)
        return Path(copy)

    def close(self) -> None:
        """End what still runs."""
        if self._undisturbed is not None:
            self._undisturbed.kill()
            self._undisturbed.wait()
        self.starter.close()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("campaigns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIFTSEARCH_CACHE", str(folder / "cache"))
        bench = Bench(folder, tiny_dataset)
        bench.begin()
        try:
            yield bench
        finally:
            bench.close()
