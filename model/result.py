"""The result of a configuration: numbers that are sent, stored and shown.

A worker makes it, the study's journal and `retrain.json` keep it as JSON, and all views of trials
read it. Weights and history stay in the store. Neither torch nor Ray is needed to read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["baseline", "fine_tune"]
STAGES: tuple[Stage, ...] = ("baseline", "fine_tune")

Matrix = Sequence[Sequence[int]]
"""[classes][classes] counts of images; row: true class, column: predicted class."""


@dataclass(frozen=True)
class SplitResult:
    """How well a stage classifies the images of a split.

    Attributes:
        n: number of images.
        accuracy: fraction of the images that are classified correctly, in 0..1.
        loss: mean cross-entropy, in nats.
        balanced_accuracy, f1_macro: scores of `model.objective`, in 0..1; None in results of
            earlier versions.
        per_class: accuracy of each class, None for a class without images; only in results of the
            first version, later versions keep it in the store.
        confusion: confusion matrix; only in results of the first version.
    """

    n: int
    accuracy: float
    loss: float
    per_class: Sequence[float | None] | None = None
    confusion: Matrix | None = None
    balanced_accuracy: float | None = None
    f1_macro: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; None is left out."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class StageSummary:
    """A finished stage.

    Attributes:
        key: the stage's result key in the store.
        epochs: number of epochs trained.
        best_epoch: the epoch whose weights were kept, counted from 1.
        seconds: time of training and validation, all epochs; of a cross-fitted fine-tune, those
            of all folds.
        environment: device, dtype, threads and versions that it was computed with.
        test: result on TEST.
        test2: result on the selection part of TEST2; of a cross-fitted fine-tune, out of fold.
        report: name of the store's entry with the complete evaluations; None in results of the
            first version.
    """

    key: str
    epochs: int
    best_epoch: int
    seconds: float
    environment: Mapping[str, str | int]
    test: SplitResult
    test2: SplitResult
    report: str | None = None

    @property
    def course(self) -> str:
        """The course key under which the store keeps the stage."""
        return self.key.partition("-")[0]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> StageSummary:
        """What `to_json` wrote, in this version or the first."""
        splits = {name: SplitResult(**raw[name]) for name in ("test", "test2")}
        return cls(**{**raw, **splits})

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "key": self.key,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "environment": dict(self.environment),
            **({} if self.report is None else {"report": self.report}),
            "test": self.test.to_json(),
            "test2": self.test2.to_json(),
        }


@dataclass(frozen=True)
class ProtocolResult:
    """Both stages of one configuration and replicate."""

    baseline: StageSummary
    fine_tune: StageSummary

    @property
    def test2_accuracy(self) -> float:
        """Accuracy on the selection part after the whole protocol, in 0..1."""
        return self.fine_tune.test2.accuracy

    def stage(self, name: Stage) -> StageSummary:
        """The summary of one stage."""
        return self.baseline if name == "baseline" else self.fine_tune

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ProtocolResult:
        """What `to_json` wrote, in this version or the first.

        Raises:
            ValueError: `raw` is not a result of the protocol.
        """
        try:
            return cls(*(StageSummary.from_json(raw[stage]) for stage in STAGES))
        except (KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"is not a result of the protocol ({reason})") from None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "test2_accuracy": self.test2_accuracy,
            "baseline": self.baseline.to_json(),
            "fine_tune": self.fine_tune.to_json(),
        }
