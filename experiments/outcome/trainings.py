"""The trainings in `RUN/retrain.json`, by configuration, replicate and protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.outcome.training import Training, read_trainings
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import content_key
from shiftsearch.search.executing.jobs import Job

TRAIN_ON = "fine_tune.train_on"


class Trainings:
    """The trainings of a run, kept in a file that is replaced with each new one.

    Args:
        path: the file `retrain.json`; need not exist.
        protocol: the run's protocol.
        kept: returns whether the store still holds a result's weights; if not, the training is
            repeated.

    Attributes:
        written: what the file held at the start, by key.

    Raises:
        experiments.run_folder.NotARun: the file is damaged.
    """

    def __init__(
        self, path: Path, protocol: Protocol, kept: Callable[[ProtocolResult], bool]
    ) -> None:
        self._path, self._protocol = path, protocol
        self._keys: dict[str, str] = {}
        self.written: Mapping[str, Training] = read_trainings(path)
        self._ended = {
            key: training
            for key, training in self.written.items()
            if not training.lost and (training.result is None or kept(training.result))
        }

    def key(self, job: Job) -> str:
        """The job's key in the file."""
        if job.name not in self._keys:  # it takes 2 ms
            key = training_key(job.configuration, job.replicate, self._protocol)
            self._keys[job.name] = key
        return self._keys[job.name]

    def of(self, job: Job) -> Training | None:
        """The job's ended training; None if it must be trained."""
        return self._ended.get(self.key(job))

    def record(self, job: Job, training: Training) -> None:
        """Add the job's training, and write the file.

        Raises:
            OSError: the file cannot be written.
        """
        self._ended[self.key(job)] = training
        _write(self._path, self._ended)


def forget_failed(path: Path, *, diverged: bool) -> int:
    """Have failed trainings trained again; returns their number.

    Args:
        path: the file `retrain.json`; need not exist.
        diverged: whether also those that diverged.

    Raises:
        experiments.run_folder.NotARun: the file is damaged.
    """
    trainings = read_trainings(path)
    kept = {k: t for k, t in trainings.items() if not t.reason or (t.diverged and not diverged)}
    if len(kept) < len(trainings):
        _write(path, kept)
    return len(trainings) - len(kept)


def _write(path: Path, trainings: Mapping[str, Training]) -> None:
    written = {key: training.to_json() for key, training in trainings.items()}
    write_atomically(path, json.dumps(written, indent=1, allow_nan=False).encode())


def training_key(configuration: Mapping[str, Value], replicate: int, protocol: Protocol) -> str:
    """The key of a training in `retrain.json`: 32 hex digits."""
    content = Hyperparameters.flat_content(configuration)
    content.pop(TRAIN_ON, None)
    return content_key([content, replicate, fine_tuned_on(configuration, protocol)])


def fine_tuned_on(configuration: Mapping[str, Value], protocol: Protocol) -> str:
    """The splits that a configuration's fine-tune trains on: "TEST" or "TRAIN+TEST"."""
    return protocol.fine_tuned_on(Hyperparameters.from_flat(configuration).fine_tune)
