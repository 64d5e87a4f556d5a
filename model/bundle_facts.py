"""What `bundle.json` says about a model for people to read: its free parts, read with types.

The keys `model` and `metrics` of a bundle are free in form, so that a key that is added there
does not keep an earlier version from loading the bundle. Unknown keys are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from shiftsearch.model.bundle_format import RECORD, BundleError, Record, problem_line
from shiftsearch.model.frozen import OneOf
from shiftsearch.model.objective import ACCURACY, OBJECTIVES

Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(max_length=1000)]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Training(_Facts):
    """A training whose weights are in a model."""

    number: Count
    replicate: Count


class Network(_Facts):
    """One network of a model, see `experiments.outcome.choice.Choice.to_json`."""

    share: Fraction
    trained: Annotated[tuple[Training, ...], Field(min_length=1, max_length=100)]
    of_baseline: Fraction | None = None
    batch_norm: Text | None = None


class Calibration(_Facts):
    """The expected calibration error without and with the temperature."""

    before: Fraction
    after: Fraction


class Parity(_Facts):
    """A format of the model, and how it compares with the PyTorch model."""

    file: Text
    bytes: Count
    """The file's size."""
    difference: Annotated[float, Field(ge=0)]
    """The largest one of a probability."""
    images: Count
    """The number of images that were compared; all have the same class in both."""
    real: bool
    """Whether they were images of the training's dataset."""


class Facts(_Facts):
    """The content of `model` in `bundle.json`; keys that are absent have their defaults."""

    name: Text = ""
    """That of the experiment."""
    licence: Text = ""
    objective: Annotated[str, OneOf(OBJECTIVES)] = ACCURACY.name
    """What the run's trials were ranked by."""
    images: dict[str, tuple[Count, ...]] = Field(default_factory=dict)
    """Number of images of each class, by split."""
    members: tuple[Network, ...] = ()
    reason: Text = ""
    """Why it is another kind of model than was asked for."""
    calibration_error: dict[str, Calibration] = Field(default_factory=dict)
    """By part of TEST2."""
    formats: dict[str, Parity] = Field(default_factory=dict)
    """By name of the format."""


class Scores(_Facts):
    """A row of `metrics`: the model on some images, before or after fine-tuning."""

    stage: Text
    split: Text
    part: Text
    label: Text
    n: Annotated[int, Field(ge=1)]
    accuracy: Fraction
    confusion: Annotated[tuple[Annotated[tuple[Count, ...], FailFast()], ...], FailFast()]
    """[classes, classes] counts; rows are true, columns predicted classes."""


def facts_of(record: Record[Any]) -> Facts:
    """The content of `model`.

    Raises:
        BundleError: a line for each key that is wrong.
    """
    try:
        return Facts.model_validate(record.model)
    except ValidationError as error:
        raise BundleError(
            [f"{RECORD}: model.{problem_line(problem)}" for problem in error.errors()]
        ) from None


def scores_of(record: Record[Any]) -> list[Scores]:
    """The rows of `metrics` in the order of the record; rows in another form are left out."""
    found = []
    for row in record.metrics:
        try:
            scores = Scores.model_validate(row)
        except ValidationError:
            continue
        size = len(record.classes)
        if len(scores.confusion) == size and all(len(line) == size for line in scores.confusion):
            found.append(scores)
    return found
