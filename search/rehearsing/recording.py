"""Recorded trials with their values and seconds, for `search.rehearsing.replay`.

A recording is a list of baselines, each with its fine-tunes. Its file is JSON lines, one baseline
per line. A benchmark, `experiments.benchmarks.record`, makes one; `recorded` makes one from any
run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.records import TrialRecord, stage_values

_IN_FILES = {"start": "rung"}


@dataclass(frozen=True)
class RecordedFineTune:
    """A whole fine-tune of a recorded baseline.

    Attributes:
        values: the fine-tune's searched hyperparameters, flat, named `fine_tune. ...`.
        start: the baseline's epochs it started from; 0 stands for the finished baseline. A file
            calls it `rung`.
        value: the objective on the selection part, 0..1.
        held_out: accuracy on the held-out part; None if it was not scored.
        seconds: duration, evaluations included.
        curve: TEST2 accuracy on the selection part after each epoch; may be empty.
    """

    values: Mapping[str, Value]
    start: int
    value: float
    held_out: float | None
    seconds: float
    curve: Sequence[float] = ()


@dataclass(frozen=True)
class RecordedBaseline:
    """A baseline with its fine-tunes.

    Attributes:
        values: its searched hyperparameters, flat, named `baseline. ...`.
        seconds: cumulative seconds after each epoch, without evaluations.
        looks: by number of epochs, the objective (selection part) of the baseline's best weights
            so far; 0 stands for the finished baseline.
        fine_tunes: in the order they were made.
    """

    values: Mapping[str, Value]
    seconds: Sequence[float]
    looks: Mapping[int, float]
    fine_tunes: Sequence[RecordedFineTune]


def recorded(trials: Sequence[TrialRecord]) -> list[RecordedBaseline]:
    """A recording of the complete trials of a study, without held-out accuracies.

    A baseline's seconds are spread evenly over its epochs, because the study keeps only their sum.
    """
    families: dict[int, list[tuple[TrialRecord, ProtocolResult]]] = {}
    for trial in trials:
        if trial.result is not None:
            families.setdefault(trial.root, []).append((trial, trial.result))
    return [_recorded_family(family) for family in families.values()]


def _recorded_family(family: Sequence[tuple[TrialRecord, ProtocolResult]]) -> RecordedBaseline:
    first, first_result = family[0]
    baseline = first_result.baseline
    fine_tunes = []
    for trial, result in family:
        values = stage_values(trial.configuration, "fine_tune")
        looks = [*trial.intermediate.items(), (0, trial.objective.of(result))]
        own = result.fine_tune.seconds
        fine_tunes += [RecordedFineTune(values, start, v, None, own) for start, v in looks]
    return RecordedBaseline(
        stage_values(first.configuration, "baseline"),
        [baseline.seconds * (n + 1) / baseline.epochs for n in range(baseline.epochs)],
        {0: first.objective.of_split(baseline.test2)},
        fine_tunes,
    )


def write_recording(path: Path, baselines: Iterable[RecordedBaseline]) -> None:
    """Write a recording, one baseline per line; numbers are not rounded."""
    raw = [asdict(b) | {"fine_tunes": [_written(f) for f in b.fine_tunes]} for b in baselines]
    lines = [json.dumps(b, allow_nan=False, separators=(",", ":")) for b in raw]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_recording(path: Path) -> list[RecordedBaseline]:
    """Read a file of `write_recording`.

    Raises:
        ValueError: a line is not a recorded baseline; the message has file and line number.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            raw = json.loads(line, parse_constant=_refuse)
            raw["looks"] = {int(epochs): value for epochs, value in raw["looks"].items()}
            raw["fine_tunes"] = tuple(_read(f) for f in raw["fine_tunes"])
            found.append(RecordedBaseline(**raw))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}:{number}: is not a recorded baseline ({reason})") from None
    return found


def _written(fine_tune: RecordedFineTune) -> dict[str, Any]:
    return {_IN_FILES.get(name, name): value for name, value in asdict(fine_tune).items()}


def _read(raw: Mapping[str, Any]) -> RecordedFineTune:
    start = {"start": raw["rung"]}
    return RecordedFineTune(**{k: v for k, v in raw.items() if k != "rung"}, **start)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a finite number")
