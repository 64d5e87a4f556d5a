"""The recipe of a stage: everything that training reads from its hyperparameters.

An engine reads only the recipe. So another policy for learning rates, the order or weights of
images, or the loss is a method here or a subclass. Unfreezing policies are in `model.unfreezing`;
augmentations are marked in `model.hyperparameters.Augmentation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812, the field's name
from torch import Tensor
from torch.nn import Parameter

from shiftsearch.data.augmentation import augment
from shiftsearch.data.mixup import TINY, mixed
from shiftsearch.model.averaging import Share, exponential, uniform
from shiftsearch.model.balance import balanced_order, balanced_weights
from shiftsearch.model.batches import composed_order, from_train_per_batch
from shiftsearch.model.course import Course
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.hyperparameters import FineTuneHyperparameters, Hyperparameters, Protocol
from shiftsearch.model.optimiser import SGD, AdamW, Optimiser
from shiftsearch.model.unfreezing import UNFREEZING


def training_splits(
    stage: str, hyperparameters: Hyperparameters, protocol: Protocol
) -> tuple[str, ...]:
    """The splits that a stage trains on, in the order in which their images are joined."""
    if stage == "baseline":
        return ("TRAIN",)
    return tuple(protocol.fine_tuned_on(hyperparameters.fine_tune).split("+"))


class Recipe:
    """How a stage is trained.

    Args:
        course: the stage's course.

    Attributes:
        course: as given; its seeds are the source of all draws.
        batch_size: images per step.
        dropout: probability of zeroing an input of the head.
        changes_images: whether `augment` changes anything.
        average: the shares of an average of weights, which is validated and kept from its first
            update on; None without an average.
        averages_steps: whether each step updates the average.
        adapts: whether all batch statistics are re-estimated on the training set before the first
            epoch.
        follows: whether the batch statistics of frozen layers follow the training batches.
    """

    def __init__(self, course: Course) -> None:
        hyperparameters = course.hyperparameters
        self.course, self.batch_size = course, hyperparameters.batch_size
        self.dropout = hyperparameters.dropout
        self.averages_steps = hyperparameters.ema_decay > 0
        self.average: Share | None = uniform if hyperparameters.swa_from < 1 else None
        if self.averages_steps:
            self.average = exponential(hyperparameters.ema_decay)
        self.adapts = self.follows = False
        if isinstance(hyperparameters, FineTuneHyperparameters):
            self.adapts = hyperparameters.batch_norm == "adapted"
            self.follows = hyperparameters.batch_norm == "training"
        self.changes_images = hyperparameters.augmentation.is_on

    def rates(self, epoch: int, learning_rate: float) -> tuple[float, ...]:
        """The learning rate of each layer in an epoch, the head's last.

        A layer with rate 0 is frozen: it has no gradient, and keeps its batch statistics unless
        `follows`.

        Args:
            epoch: counted from 1.
            learning_rate: the schedule's in this epoch, above 0.
        """
        layers = len(self.course.architecture.layer_names)
        values = self.course.hyperparameters
        if not isinstance(values, FineTuneHyperparameters):
            return (learning_rate,) * (layers + 1)
        frozen = UNFREEZING[values.unfreezing](values, layers, epoch)
        return tuple(
            0.0 if is_frozen else learning_rate * values.layer_decay ** (layers - i)
            for i, is_frozen in enumerate(frozen)
        )

    def averages(self, epoch: int) -> bool:
        """Whether the end of an epoch, counted from 1, updates the average of weights."""
        fraction = (epoch - 1) / self.course.schedule.max_epochs
        return fraction >= self.course.hyperparameters.swa_from

    def order(self, train: TensorSplit, epoch: int) -> Tensor:
        """The images that an epoch trains on, in order.

        Drawn on the CPU, so that every device sees the same order.

        Args:
            train: the training set, N images.
            epoch: counted from 1.

        Returns:
            [M] int64 positions in 0..N - 1, on the CPU.
        """
        draws, first = self.generator("order", epoch), train.from_train
        if not first:
            return self._drawn(train.labels, draws)
        values = self.course.hyperparameters
        share = values.train_share if isinstance(values, FineTuneHyperparameters) else 0.0
        return composed_order(
            first + self._drawn(train.labels[first:], draws),
            lambda: self._drawn(train.labels[:first], draws),
            self.batch_size,
            from_train_per_batch(self.batch_size, share),
        )

    def _drawn(self, labels: Tensor, draws: torch.Generator) -> Tensor:
        """One pass over images with these labels: [M] int64 positions."""
        if self.course.hyperparameters.balance == "sampling":
            return balanced_order(labels.cpu(), draws)
        return torch.randperm(len(labels), generator=draws)

    def weights(self, train: TensorSplit) -> Tensor | None:
        """The weight of each image in the loss: [N] float32 >= 0; None if all weigh the same.

        The mean is 1, of TRAIN's and of TEST's images each if batches have a fixed share of both.

        Args:
            train: the training set, N images.
        """
        is_balanced = self.course.hyperparameters.balance == "weights"
        if train.weights is None and not is_balanced:
            return None
        found = []
        for part in (slice(train.from_train), slice(train.from_train, None)):
            labels = train.labels[part]
            own = None if train.weights is None else train.weights[part]
            if is_balanced and len(labels):
                own = balanced_weights(labels, own)
            elif own is not None:
                own = own / own.mean().clamp_min(TINY)
            found += [] if own is None else [own]
        return torch.cat(found)

    def augment(
        self, images: Tensor, labels: Tensor, weights: Tensor | None, draws: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Change a batch at random; called only if `changes_images`.

        Args:
            images: [n, 1, H, W] float32 in 0..1.
            labels: [n] int64.
            weights: [n] float32 weights of the images; None if all weigh the same.
            draws: a generator on the device of the images.

        Returns:
            Images of the same shape and range, and the targets and weights that `loss` takes.
        """
        values = self.course.hyperparameters.augmentation
        images = augment(images, values, draws)
        if not values.mixup:
            return images, labels, weights
        return mixed(images, labels, weights, self.course.classes, values.mixup, draws)

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The training loss, as a mean over the batch.

        Args:
            logits: [n, classes] float32.
            targets: [n] int64 labels, or [n, classes] float32 probabilities.
            weights: [n] float32 weights of the batch's images; None if all weigh the same.
        """
        smoothing = self.course.hyperparameters.label_smoothing
        if weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        return (losses * weights).sum() / weights.sum().clamp_min(TINY)

    def optimiser(self, parameters: Sequence[Parameter]) -> Optimiser:
        """The optimiser of the parameters that are trained in at least one epoch of the stage.

        Args:
            parameters: with the values that the stage starts from.
        """
        values = self.course.hyperparameters
        start_decay = values.l2_sp if isinstance(values, FineTuneHyperparameters) else 0.0
        if values.optimiser == "sgd":
            return SGD(parameters, values.weight_decay, start_decay, values.momentum)
        return AdamW(parameters, values.weight_decay, start_decay)

    def generator(
        self, purpose: str, epoch: int, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """The generator for a purpose and an epoch, see `Course.seed_for`."""
        return torch.Generator(device).manual_seed(self.course.seed_for(purpose, epoch))
