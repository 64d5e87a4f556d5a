"""The values that decide a trial: frozen, validated, each with its unit and range.

`Hyperparameters()` without arguments is the reference configuration. The flat form, one dotted
name per value (`fine_tune.augmentation.rotation`), is used in the study, the files and the
reports; `from_flat` and `to_flat` convert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from shiftsearch.data.erasing import erased
from shiftsearch.data.preprocessing import CENTRES, INTENSITIES, POLARITIES, preprocess
from shiftsearch.data.scale import Pixels
from shiftsearch.model.architecture import (
    ARCHITECTURES,
    LAYERS,
    REFERENCE,
    Architecture,
    Attention,
    Depth,
    FirstKernel,
    Multiplier,
    Source,
)
from shiftsearch.model.frozen import Frozen, Neutral, OneOf, When, flatten
from shiftsearch.model.schedules import SCHEDULES
from shiftsearch.model.unfreezing import ENDS, UNFREEZING

if TYPE_CHECKING:
    from shiftsearch.data.augmentation import Change  # imports torch

Value = float | int | str | bool
"""A hyperparameter's value, in the type that its field declares."""

FINE_TUNE_ON = ("TEST", "TRAIN+TEST")
"""What a fine-tune may be trained on."""

BALANCES = ("none", "sampling", "weights")
"""Ways of balancing classes, see `model.balance`."""

BATCH_NORMS = ("kept", "adapted", "training")
"""What the batch normalisation of frozen layers does in the fine-tune."""

SAMPLE_WEIGHTS = ("none", "file", "density_ratio")
"""Sources of the weights of training images, see `model.protocol`."""

OPTIMISERS = ("adamw", "sgd")
"""Names of the optimisers in `model.optimiser`."""


@dataclass(frozen=True)
class ChangedBy:
    """Marks a field of `Augmentation` with the function that takes its strength.

    Attributes:
        change: the function; it is called only when the strength is not 0.
    """

    change: Change


class Augmentation(Frozen):
    """Random changes of each training image, drawn anew in each batch; 0 is off.

    The first six are in `data.augmentation.augment`. A later one is marked with `ChangedBy`, but
    for `mixup`, which changes the labels too.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees; uniform in plus or minus this."""
    scale: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Relative; the factor is uniform in 1 plus or minus this."""
    translation: Annotated[float, Field(ge=0)] = 0.0
    """Pixels per axis; uniform in plus or minus this, at most `data.augmentation` allows."""
    outside: Annotated[str, OneOf(("zeros", "border", "reflection")), Neutral("zeros")] = "zeros"
    """What turned, scaled or moved images show beyond their edge: black, the nearest pixel, or
    the image mirrored."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of Gaussian noise, in units of the full range."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Added to all pixels; uniform in plus or minus this, in units of the full range."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Factor about the image's mean; uniform in 1 plus or minus this."""
    erasing: Annotated[float, Field(ge=0, le=1), Neutral(0.0), ChangedBy(erased)] = 0.0
    """Probability that a rectangle of the image is replaced by noise."""
    mixup: Annotated[float, Field(ge=0, le=10), Neutral(0.0)] = 0.0
    """Each image is blended with another of its batch, and so are their labels; the share is from
    a beta distribution with this value twice."""

    @property
    def is_on(self) -> bool:
        """Whether any strength is above 0."""
        return any(self.model_dump(exclude={"outside"}).values())

    def changes(self) -> list[tuple[Change, float]]:
        """The changes marked with `ChangedBy` that are on, in declared order."""
        return [
            (mark.change, strength)
            for name, field in type(self).model_fields.items()
            for mark in field.metadata
            if isinstance(mark, ChangedBy) and (strength := getattr(self, name))
        ]


class StageHyperparameters(Frozen):
    """Hyperparameters that both stages have."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """The optimiser's step size at the start of the stage."""
    learning_rate_schedule: Annotated[str, OneOf(SCHEDULES), Neutral("plateau")] = "plateau"
    """How the learning rate falls: on plateau, or to zero at the stage's `max_epochs`."""
    warm_up_epochs: Annotated[int, Field(ge=0, le=10_000), Neutral(0)] = 0
    """Epochs in which the learning rate rises to its full value."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    """The optimiser's decoupled weight decay."""
    optimiser: Annotated[str, OneOf(OPTIMISERS), Neutral("adamw")] = "adamw"
    """AdamW, or stochastic gradient descent with Nesterov's momentum, which usually needs a
    learning rate about a hundred times as high."""
    momentum: Annotated[float, Field(ge=0, lt=1), When("optimiser", ("sgd",))] = 0.9
    """Momentum of stochastic gradient descent."""
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 64
    """Images per step; the last, smaller batch of an epoch is used unless it holds one image."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the target probability that is spread over all classes, in training only."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Probability of zeroing an input of the head."""
    augmentation: Augmentation = Augmentation()
    balance: Annotated[str, OneOf(BALANCES), Neutral("none")] = "none"
    """Whether every class counts as much: by drawing as many images of each, or by weights."""
    sample_weights: Annotated[str, OneOf(SAMPLE_WEIGHTS), Neutral("none")] = "none"
    """Weights of the training images in the loss: those of their files (see `data.weights`), or
    by how much they look like TEST2's selection part (see `data.density_ratio`)."""
    ema_decay: Annotated[float, Field(ge=0, lt=1), Neutral(0.0)] = 0.0
    """Decay per step of the weights' exponential moving average, which is validated and kept in
    place of the weights (see `model.averaging`); 0 is off."""
    swa_from: Annotated[float, Field(ge=0, le=1), Neutral(1.0), When("ema_decay", (0.0,))] = 1.0
    """Fraction of `max_epochs` after which the weights at the end of each epoch are averaged
    (stochastic weight averaging, see `model.averaging`); 1 is off. From then on the average, with
    batch statistics re-estimated on the images that the epoch drew, is validated and kept in place
    of the weights. So early stopping and the choice of the best epoch compare its validation
    losses with those of the epochs before; a stage that stops earlier has no average."""


class FineTuneHyperparameters(StageHyperparameters):
    """Hyperparameters of the fine-tune: those of every stage, and those of freezing."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    frozen_layers: Annotated[int, Field(ge=0, le=LAYERS)] = 2
    """Layers, counted from the end of `freeze_from`, that keep the baseline's weights and
    statistics; all layers if the architecture has fewer."""
    freeze_from: Annotated[str, OneOf(ENDS), Neutral("input")] = "input"
    """The end at which layers are frozen. From the head, the head is the first of them (surgical
    fine-tuning; Lee et al. 2023, arXiv 2210.11466): with 4, only the first block is trained."""
    unfreezing: Annotated[str, OneOf(UNFREEZING), Neutral("none")] = "none"
    """When frozen layers are thawed; a parameter of one policy only is marked with `When`."""
    thaw_every: Annotated[int, Field(ge=1), When("unfreezing", ("gradual",))] = 1
    """Epochs after which one more layer is thawed."""
    probe_epochs: Annotated[int, Field(ge=1), When("unfreezing", ("linear probe",))] = 1
    """Epochs in which the head alone is trained; early stopping counts them too."""
    batch_norm: Annotated[str, OneOf(BATCH_NORMS), Neutral("kept")] = "kept"
    """Batch statistics of frozen layers. Kept: the baseline's. Adapted: all layers' statistics are
    re-estimated on the fine-tune's images before its first epoch (AdaBN, see `model.statistics`),
    and frozen layers keep these. Training: each training batch is normalised by its own, and the
    running ones follow, so that re-estimated ones would soon be forgotten."""
    layer_decay: Annotated[float, Field(ge=0.01, le=1), Neutral(1.0)] = 1.0
    """Factor of the learning rate from each layer to the one before it; the head has the full
    rate (Howard and Ruder 2018, arXiv 1801.06146, section 3.2, where it is 1 / 2.6)."""
    l2_sp: Annotated[float, Field(ge=0, le=10_000), Neutral(0.0)] = 0.0
    """Decoupled decay of all weights towards the baseline's (L2-SP; Li et al. 2018, arXiv
    1802.01483, equation 2, here apart from the gradient, as AdamW's weight decay)."""
    train_on: Annotated[str, OneOf(FINE_TUNE_ON), Neutral("TEST")] = "TEST"
    """The images: TEST, or the other reading of the source, TRAIN and TEST together."""
    train_share: Annotated[
        float, Field(ge=0, le=0.9), Neutral(0.0), When("train_on", ("TEST",))
    ] = 0.0
    """Share of each batch that comes from TRAIN, see `model.batches`; an epoch is one pass over
    TEST."""


class NetworkHyperparameters(Frozen):
    """The architecture of both stages; a field of one architecture only is marked with `When`."""

    name: Annotated[str, OneOf(ARCHITECTURES), Neutral(REFERENCE.name)] = REFERENCE.name
    depth: Annotated[Depth, When("name", ("blocks",))] = 3
    """Number of blocks; d of them need images of at least 2^d pixels a side."""
    width: Annotated[Multiplier, When("name", ("blocks",))] = 1.0
    """Factor of the reference's filters."""
    residual: Annotated[bool, When("name", ("blocks",))] = False
    """Whether each block has a shortcut around it."""
    attention: Annotated[Attention, When("name", ("blocks",))] = "none"
    """What weighs the channels of each block's output."""
    first_kernel: Annotated[FirstKernel, When("name", ("blocks",))] = 3
    """Side of the first block's convolution, in pixels."""
    source: Annotated[Source, When("name", ("own",))] = ""
    """The function of a person's own network; an experiment's key `network` sets it."""

    @property
    def architecture(self) -> Architecture:
        """The architecture with these values."""
        return ARCHITECTURES[self.name].model_validate(self.existing())


class PreprocessingHyperparameters(Frozen):
    """How images are preprocessed, in both stages and by the exported model."""

    intensity: Annotated[str, OneOf(INTENSITIES), Neutral("none")] = "none"
    """How the intensities of each image are brought to one scale."""
    polarity: Annotated[str, OneOf(POLARITIES), Neutral("none")] = "none"
    """How figures get one polarity, bright on dark."""
    centre: Annotated[str, OneOf(CENTRES), Neutral("none")] = "none"
    """How figures are moved to the middle of the image."""

    def apply(self, images: Pixels) -> Pixels:
        """Preprocess [N, H, W] images, see `data.preprocessing.preprocess`."""
        return preprocess(images, self.intensity, self.polarity, self.centre)


class Hyperparameters(Frozen):
    """One configuration; without arguments it is the reference configuration."""

    baseline: StageHyperparameters = StageHyperparameters()
    fine_tune: FineTuneHyperparameters = FineTuneHyperparameters()
    network: NetworkHyperparameters = NetworkHyperparameters()
    preprocessing: PreprocessingHyperparameters = PreprocessingHyperparameters()

    def to_flat(self) -> dict[str, Value]:
        """The values that exist and are not neutral, by dotted name, in declared order."""
        return flatten(self.content())

    @classmethod
    def defaults(cls) -> dict[str, Value]:
        """Default of every dotted name, also of hyperparameters that do not exist by default."""
        return flatten(cls().model_dump())

    @classmethod
    def from_flat(cls, flat: Mapping[str, Value]) -> Self:
        """The configuration with the values in `flat`, and reference values for the others.

        Raises:
            pydantic.ValidationError: for an unknown name or a value outside its range.
        """
        nested: dict[str, Any] = {}
        for name, value in flat.items():
            *parents, leaf = name.split(".")
            node = nested
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value
        return cls.model_validate(nested)

    @classmethod
    def flat_content(cls, flat: Mapping[str, Value]) -> dict[str, Value]:
        """A flat configuration without its neutral values, for keys and comparisons."""
        return cls.from_flat(flat).to_flat()


class Schedule(Frozen):
    """When a stage ends and when its learning rate is reduced; part of the course key."""

    max_epochs: Annotated[int, Field(ge=1, le=10_000)] = 15
    """The most epochs of a stage."""
    patience: Annotated[int, Field(ge=1)] = 4
    """Epochs without a lower validation loss after which the stage stops."""
    reduce_after: Annotated[int, Field(ge=1)] = 2
    """Epochs without a lower validation loss after which the learning rate is reduced."""
    reduce_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The factor of a reduction of the learning rate."""
    min_updates: Annotated[int, Field(ge=0), Neutral(0)] = 0
    """Optimiser steps before which `patience` and `reduce_after` count no epoch. An epoch of a
    small set has few steps: of 320 images in batches of 64, five."""


class Protocol(Frozen):
    """Settings of all trials of a run: schedules, training sets and the division of TEST2."""

    baseline: Schedule = Schedule()
    fine_tune: Schedule = Schedule()
    fine_tune_on: Literal["TEST", "TRAIN+TEST"] = "TEST"
    """TRAIN+TEST: the fine-tune of every trial, the reference's too, trains on both sets,
    whatever its `train_on`."""
    holdout: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    """Fraction of TEST2 that is held out; 0 is the published protocol."""
    division_seed: Annotated[int, Field(ge=0)] = 0
    """Seed that decides which images of TEST2 are held out, and the folds."""
    folds: Annotated[int, Field(ge=1, le=20), Neutral(1)] = 1
    """Folds of TEST2's selection part: each is scored by a fine-tune that the others validated,
    see `model.folds`; 1 is off. A trial then has as many fine-tunes."""

    def fine_tuned_on(self, values: FineTuneHyperparameters) -> str:
        """What a fine-tune with these values trains on: "TEST" or "TRAIN+TEST"."""
        if values.train_share:
            return "TRAIN+TEST"
        return values.train_on if self.fine_tune_on == "TEST" else self.fine_tune_on
