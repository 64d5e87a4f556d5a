"""The trainings in `RUN/retrain.json`, by configuration, replicate and protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.run_folder import NotARun, read_json
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import content_key
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.records import LOST_BEFORE

TRAIN_ON = "fine_tune.train_on"


@dataclass(frozen=True)
class Round:
    """The round of a race in which a training was given out.

    Attributes:
        race: key of the race.
        number: from 1; trainings before the first decision have no round.
        size: number of trainings in the round.
    """

    race: str
    number: int
    size: int


@dataclass(frozen=True)
class Training:
    """One ended training, as `retrain.json` keeps it: either it has a result or it failed.

    Attributes:
        result: the protocol's result; None if it failed.
        reason: why it failed; empty otherwise.
        lost: whether it failed because its worker was lost too often.
        round: the round that gave it out; None before the first decision.
        asked: whether a person asked for it (`shiftsearch retrain`). A race uses it only if it
            wants the same training, so it does not change which configuration wins.

    Raises:
        ValueError: it has both a result and a reason, or neither.
    """

    result: ProtocolResult | None = None
    reason: str = ""
    lost: bool = False
    round: Round | None = None
    asked: bool = False

    def __post_init__(self) -> None:
        if (self.result is None) == (self.reason == ""):
            raise ValueError("a training needs either a result or a reason why it failed")

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Training:
        """The inverse of `to_json`.

        The first version did not write `lost`; it is recognised by the reason.

        Raises:
            ValueError: `raw` is not a training.
        """
        try:
            result, reason, given = raw.get("result"), raw.get("reason", ""), raw.get("round")
            return cls(
                None if result is None else ProtocolResult.from_json(result),
                reason,
                raw.get("lost", bool(LOST_BEFORE.match(reason))),
                None if given is None else Round(**given),
                raw.get("asked", False),
            )
        except (AttributeError, TypeError) as error:
            raise ValueError(f"is not a training ({type(error).__name__}: {error})") from None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, without those that are at their defaults."""
        found: dict[str, Any] = {"reason": self.reason}
        if self.result is not None:
            found = {"result": self.result.to_json()}
        found |= {"lost": True} if self.lost else {}
        found |= {"round": asdict(self.round)} if self.round is not None else {}
        return found | ({"asked": True} if self.asked else {})


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
        self.written: Mapping[str, Training] = _read(path)
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
        written = {key: training.to_json() for key, training in self._ended.items()}
        write_atomically(self._path, json.dumps(written, indent=1, allow_nan=False).encode())


def training_key(configuration: Mapping[str, Value], replicate: int, protocol: Protocol) -> str:
    """The key of a training in `retrain.json`: 32 hex digits."""
    content = Hyperparameters.flat_content(configuration)
    content.pop(TRAIN_ON, None)
    return content_key([content, replicate, fine_tuned_on(configuration, protocol)])


def fine_tuned_on(configuration: Mapping[str, Value], protocol: Protocol) -> str:
    """The splits that a configuration's fine-tune trains on: "TEST" or "TRAIN+TEST"."""
    return protocol.fine_tuned_on(Hyperparameters.from_flat(configuration).fine_tune)


def _read(path: Path) -> dict[str, Training]:
    raw = read_json(path) if path.exists() else {}
    if not isinstance(raw, dict):
        raise NotARun(f"{path}: is damaged, it holds no trainings by key")
    try:
        return {key: Training.from_json(training) for key, training in raw.items()}
    except ValueError as error:
        raise NotARun(f"{path}: is damaged: {error}") from None
