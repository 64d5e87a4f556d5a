"""Scalars of every job for `tensorboard --logdir RUN/tensorboard`, live within seconds.

One folder per job, named by the job and never by its parameters. A worker that takes a job up
again reports all its epochs anew, so a job's folder is emptied when it starts: no step twice.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from experiments.listeners import harmless
from search.jobs import Job

_SCALARS = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "images_per_second",
)


class TensorBoardLog:
    """A `search.jobs.Listener`; a context manager that closes what is still open.

    Contract: one process writes a run's folder, the driver.

    Args:
        root: the run's TensorBoard folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._writers: dict[str, EventFileWriter] = {}

    def __enter__(self) -> Self:
        return self

    @harmless
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._writers:
            self._writers.popitem()[1].close()

    @harmless
    def started(self, job: Job) -> None:
        """Empty the job's folder and open it for writing."""
        self._close(job)
        folder = self.root / job.name
        shutil.rmtree(folder, ignore_errors=True)
        self._writers[job.name] = EventFileWriter(str(folder))

    @harmless
    def placed(self, job: Job, node: str, device: str) -> None:
        """Nothing yet."""

    @harmless
    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """One point of every curve of the stage."""
        scalars = {f"{stage}/{name}": row[name] for name in _SCALARS}
        self._write(job, scalars, step=int(row["epoch"]))

    @harmless
    def ended(self, job: Job, state: str, detail: str, result: Mapping[str, Any] | None) -> None:
        """The final accuracies, when there are any; the folder is closed."""
        if result is not None:
            scalars = {
                f"final/{split}_accuracy_{when}": result[stage][split]["accuracy"]
                for stage, when in (("baseline", "before"), ("fine_tune", "after"))
                for split in ("test", "test2")
            }
            self._write(job, scalars, step=0)
        self._close(job)

    def _write(self, job: Job, scalars: Mapping[str, float], step: int) -> None:
        writer = self._writers.get(job.name)
        if writer is None:  # could not be opened, which was said then
            return
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        writer.flush()

    def _close(self, job: Job) -> None:
        writer = self._writers.pop(job.name, None)
        if writer is not None:
            writer.close()
