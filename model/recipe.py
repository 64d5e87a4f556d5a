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
from shiftsearch.data.mixup import mixed
from shiftsearch.model.balance import balanced_order, balanced_weights
from shiftsearch.model.course import Course
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
        ema_decay: of the average of weights, see `model.averaging`; 0: the weights themselves are
            validated and kept.
    """

    def __init__(self, course: Course) -> None:
        hyperparameters = course.hyperparameters
        self.course, self.batch_size = course, hyperparameters.batch_size
        self.dropout, self.ema_decay = hyperparameters.dropout, hyperparameters.ema_decay
        self.changes_images = hyperparameters.augmentation.is_on

    def rates(self, epoch: int, learning_rate: float) -> tuple[float, ...]:
        """The learning rate of each layer in an epoch, the head's last.

        A layer with rate 0 is frozen: it has no gradient and keeps its batch statistics.

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

    def order(self, labels: Tensor, epoch: int) -> Tensor:
        """The images that an epoch trains on, in order.

        Drawn on the CPU, so that every device sees the same order.

        Args:
            labels: [N] int64, the training set's.
            epoch: counted from 1.

        Returns:
            [M] int64 positions in 0..N - 1, on the CPU.
        """
        draws = self.generator("order", epoch)
        if self.course.hyperparameters.balance == "sampling":
            return balanced_order(labels.cpu(), draws)
        return torch.randperm(len(labels), generator=draws)

    def weights(self, labels: Tensor) -> Tensor | None:
        """The weight of each image in the loss: [N] float32 >= 0; None if all weigh the same.

        Args:
            labels: [N] int64, the training set's.
        """
        if self.course.hyperparameters.balance == "weights":
            return balanced_weights(labels)
        return None

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
        return (losses * weights).sum() / weights.sum()

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
