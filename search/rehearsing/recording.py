"""Recorded trials: what configurations came to and what they cost, for `search.rehearsing.replay`.

A recording is a list of baselines, each with its fine-tunes; a file of it is JSON lines, one
baseline a line. The benchmark's recorder makes one on purpose; `recorded` makes one of any run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.records import TrialRecord, stage_values


@dataclass(frozen=True)
class RecordedFineTune:
    """A whole fine-tune of a recorded baseline.

    Attributes:
        values: the fine-tune's searched hyperparameters, flat, named `fine_tune. ...`.
        rung: the baseline's epochs it started from; 0 stands for the finished baseline.
        value: `test2_accuracy` on the selection part, 0..1.
        held_out: accuracy on the held-out part; None where nobody looked.
        seconds: it took, evaluations included.
        curve: TEST2 accuracy on the selection part after each epoch; may be empty.
    """

    values: Mapping[str, Value]
    rung: int
    value: float
    held_out: float | None
    seconds: float
    curve: Sequence[float] = ()


@dataclass(frozen=True)
class RecordedBaseline:
    """A baseline with what was made of it.

    Attributes:
        values: its searched hyperparameters, flat, named `baseline. ...`.
        seconds: cumulated, after each epoch, evaluations apart.
        looks: epochs to TEST2 accuracy (selection part) of the baseline itself, best weights so
            far; 0 stands for the finished baseline.
        fine_tunes: in the order they were made.
    """

    values: Mapping[str, Value]
    seconds: Sequence[float]
    looks: Mapping[int, float]
    fine_tunes: Sequence[RecordedFineTune]


def recorded(trials: Sequence[TrialRecord]) -> list[RecordedBaseline]:
    """What the complete trials of a study recorded; nobody looked at their held-out part.

    A baseline's seconds are spread evenly over its epochs: the study keeps their sum.
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
        looks = [*trial.rungs.items(), (0, result.test2_accuracy)]
        own = result.fine_tune.seconds
        fine_tunes += [RecordedFineTune(values, rung, v, None, own) for rung, v in looks]
    return RecordedBaseline(
        stage_values(first.configuration, "baseline"),
        [baseline.seconds * (n + 1) / baseline.epochs for n in range(baseline.epochs)],
        {0: baseline.test2.accuracy},
        fine_tunes,
    )


def write_recording(path: Path, baselines: Iterable[RecordedBaseline]) -> None:
    """One baseline a line; numbers as they are."""
    lines = [json.dumps(asdict(b), allow_nan=False, separators=(",", ":")) for b in baselines]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_recording(path: Path) -> list[RecordedBaseline]:
    """What `write_recording` wrote.

    Raises:
        ValueError: naming the file and line that is not a recorded baseline.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            raw = json.loads(line, parse_constant=_refuse)
            raw["looks"] = {int(epochs): value for epochs, value in raw["looks"].items()}
            raw["fine_tunes"] = tuple(RecordedFineTune(**f) for f in raw["fine_tunes"])
            found.append(RecordedBaseline(**raw))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}:{number}: is not a recorded baseline ({reason})") from None
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a finite number")
