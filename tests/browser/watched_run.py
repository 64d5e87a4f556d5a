"""A real search under the eyes of a TensorBoard that was there before it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from shiftsearch.experiments.run_folder import Run
from tests.browser.servers import TensorBoard, until

REPOSITORY = Path(__file__).resolve().parents[2]
TRIALS = 6
"""Complete or pruned; one that fails comes on top."""

# The seed makes the second baseline a good one, and the third a bad one that is stopped at the
# rung: its weight decay takes all weights to nothing. The point is outside of reason: its weight
# decay makes every weight -9 times itself at each step, until it overflows.
EXPERIMENT = """
name: watched
trials: 6
sampler: random
seed: 35
protocol:
  baseline: {max_epochs: 24, patience: 24}
  fine_tune: {max_epochs: 16, patience: 16}
policy: {first_baselines: 3, branches: 3, rungs: [6], min_population: 2}
points:
  - baseline: {learning_rate: 1.0, weight_decay: 10.0}
space:
  baseline:
    learning_rate: {low: 1e-3, high: 1.0, log: true}
    weight_decay: {choices: [0.0, 10.0]}
    batch_size: 8
    dropout: {low: 0.2, high: 0.6, step: 0.1}
    augmentation: &mends {brightness: 0.5, contrast: 0.8}
  fine_tune:
    learning_rate: {low: 1e-4, high: 1e-2, log: true}
    frozen_layers: {low: 0, high: 3}
    augmentation: *mends
resources: {concurrency: 1}
retrain: {top_k: 1, replicates: 2}
export: {formats: []}
"""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sight:
    """What TensorBoard showed at a moment.

    Attributes:
        columns: of the HParams tab.
        metrics: of the HParams tab.
        sessions: trial's unmarked name to status and the metric `state`, None where it has none.
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    sessions: Mapping[str, tuple[str, float | None]]

    def is_running(self, name: str) -> bool:
        """Whether the trial is shown as one that runs."""
        return self.sessions.get(unmarked(name)) == ("STATUS_UNKNOWN", 0.0)


@dataclass
class Watched:
    """A finished run, and what was seen of it while it ran.

    Attributes:
        run: its folder.
        tensorboard: still there.
        sights: in order.
        delays: of each point of a loss curve whose trial was running when it was first shown:
            seconds since it was written.
        seconds: that the whole run took.
        said: by the driver.
    """

    run: Run
    tensorboard: TensorBoard
    sights: list[Sight] = field(default_factory=list)
    delays: dict[tuple[str, str, int], float] = field(default_factory=dict)
    seconds: float = 0.0
    said: str = ""

    def rows(self) -> dict[str, Row]:
        """`trials.csv`, by the trial's name in TensorBoard; a cell that is empty is not there."""
        frame = pd.read_csv(self.run.trials, dtype={"reason": "string"})
        rows = [row.dropna().to_dict() for _, row in frame.iterrows()]
        shown = {unmarked(path.name): path.name for path in self.run.tensorboard.glob("trial-*")}
        names = [shown[f"trial-{int(row['number']):04d}"] for row in rows]
        return dict(zip(names, rows, strict=True))

    def is_shown_whole(self) -> bool:
        """Whether TensorBoard has read all there is, by what is written last."""
        groups = self.tensorboard.sessions(())
        ended = [name for name, group in groups.items() if status_of(group) != "STATUS_UNKNOWN"]
        return set(ended) == set(self.rows()) and "winner" in self.tensorboard.tags("images")

    def look(self) -> None:
        """Note what TensorBoard shows now."""
        experiment = self.tensorboard.experiment()
        columns = tuple(info["name"] for info in experiment.get("hparamInfos", ()))
        metrics = tuple(info["name"]["tag"] for info in experiment.get("metricInfos", ()))
        groups = self.tensorboard.sessions(columns)
        sessions = {
            unmarked(name): (status_of(g), metrics_of(g).get("state"))
            for name, g in groups.items()
        }
        self.sights.append(Sight(columns, metrics, sessions))
        tags = self.tensorboard.tags("scalars")
        for name in groups:
            if not self.sights[-1].is_running(name):
                continue
            for tag in sorted(t for t in tags.get(name, ()) if t.endswith("/train_loss")):
                points = self.tensorboard.points(name, tag)
                now = time.time()
                for written, step, _ in points:
                    self.delays.setdefault((name, tag, step), now - written)


def unmarked(name: str) -> str:
    """A trial's name without the marks of reference and winner, which it gets later."""
    return name[: len("trial-0000")]


def status_of(group: Mapping[str, Any]) -> str:
    """Of a row that stands for one trial."""
    (session,) = group["sessions"]
    return str(session["status"])


def metrics_of(group: Mapping[str, Any]) -> dict[str, float]:
    """Tag to value."""
    return {m["name"]["tag"]: m["value"] for m in group.get("metricValues", ())}


@contextmanager
def watched_run(folder: Path, data: Path) -> Iterator[Watched]:
    """Start TensorBoard, then the search as a user would; look until the search has ended.

    Args:
        folder: empty; everything is written there.
        data: a dataset folder.
    """
    definition, output = folder / "watched.yaml", folder / "driver.log"
    definition.write_text(EXPERIMENT)
    run = Run(folder / "run")
    command = [sys.executable, "-m", "shiftsearch.experiments.cli", "search", definition]
    command += ["--data", data, "--run", run.folder]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment["SHIFTSEARCH_CACHE"] = str(folder / "cache")
    with TensorBoard(run.tensorboard, folder / "tensorboard.log") as tensorboard:
        watched, begin = Watched(run, tensorboard), time.monotonic()
        with output.open("w") as log:
            driver = subprocess.Popen(
                list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=log
            )
        try:
            while driver.poll() is None and time.monotonic() < begin + 200:
                watched.look()
                time.sleep(0.2)
        finally:
            driver.terminate()
            driver.wait()
        watched.seconds, watched.said = time.monotonic() - begin, output.read_text()
        assert driver.returncode == 0, watched.said
        until(watched.is_shown_whole)
        watched.look()
        yield watched
