"""The engine for one stage in this process: its network and optimiser, epoch by epoch.

Decisions are made in `model.stopping`, `model.stage` stores, and `model.recipe` says how to train;
this module computes. All random numbers of an epoch come from seeds derived from the course and
the epoch's number, so a stage that continues from its state ends with the same bits (on the same
device, dtype, threads and versions).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the field's name
from torch import Tensor

from shiftsearch.data.tensors import normalise
from shiftsearch.model.averaging import AveragedNetwork
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import ComputedEpoch, EpochRequest, TensorSplit
from shiftsearch.model.freezing import freeze
from shiftsearch.model.network import Network, allocate, initialise
from shiftsearch.model.prefix import FrozenPrefix
from shiftsearch.model.recipe import Recipe
from shiftsearch.model.stage import OnEpoch, StageResult, drive, stage_steps
from shiftsearch.model.statistics import re_estimate
from shiftsearch.model.store import Store

VALIDATION_BATCH = 512


def run_stage(
    course: Course,
    train: TensorSplit,
    validation: TensorSplit,
    store: Store,
    device: Device,
    *,
    start: Mapping[str, Tensor] | None = None,
    until: int | None = None,
    on_epoch: OnEpoch | None = None,
    recipe: Recipe | None = None,
) -> StageResult:
    """Return a stored stage, or compute it in this process, from its stored state if it has one.

    Args:
        course: the stage to compute.
        train, validation: the splits named in the course, on the device.
        store: holds results and resumable states.
        device: device, dtype and threads; recorded, but not part of the course.
        start: the parent's weights; None draws new ones from the course's seed.
        until: stop after this many epochs (a longer budget continues it); None: no budget.
        on_epoch: called with the stage's name and each epoch's row, stored rows included.
        recipe: used in place of the course's own.

    Raises:
        TrialDiverged: a loss is not finite; the stage stores nothing of that epoch.
    """
    steps = stage_steps(course, store, until=until, on_epoch=on_epoch)
    recipe = recipe or Recipe(course)
    return drive(steps, lambda: NetworkEngine(recipe, train, validation, device, start).epoch)


class NetworkEngine:
    """One network in training, with its optimiser.

    Args:
        recipe: how it is trained.
        train, validation: splits on the device.
        device: device, dtype and threads.
        start: the network's state before the first epoch; None draws it from the course's seed.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: TensorSplit,
        validation: TensorSplit,
        device: Device,
        start: Mapping[str, Tensor] | None,
    ) -> None:
        course = recipe.course
        self.recipe, self.device = recipe, device
        self.train, self.validation = train, validation
        self.network = allocate(
            course.classes, course.image_size, recipe.dropout, course.architecture
        )
        if start is None:
            initialise(self.network, recipe.generator("weights", 0))
        else:
            self.network.load_state_dict(dict(start))
        self.network.to(device.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.fuses:
            self.network.fuse()
        if recipe.adapts:
            own = train.images[train.from_train :]  # TEST's, if batches are filled up from TRAIN
            re_estimate(self.network, None, own, device)
        share = recipe.average
        self.average = None if share is None else AveragedNetwork(self.network, share)
        self._epochs = [recipe.rates(e, 1.0) for e in range(1, course.schedule.max_epochs + 1)]
        parameters = [
            (parameter, i)
            for i, layer in enumerate((*self.network.layers, self.network.head))
            if any(rates[i] for rates in self._epochs)
            for parameter in layer.parameters()
        ]
        self._layers = [i for _, i in parameters]
        self.optimiser = recipe.optimiser([parameter for parameter, _ in parameters])
        self.weights = recipe.weights(train)
        self._frozen: list[bool] = []
        self._rates: list[float] = []

    def epoch(self, request: EpochRequest) -> ComputedEpoch:
        """Train one epoch, then validate."""
        begin = time.perf_counter()
        if request.state is not None:
            self._restore(request.state)
        self._follow(request)
        train_loss, train_accuracy, images, updates = self._train(request.number)
        trained = time.perf_counter()
        if self.average is not None and self.recipe.averages(request.number):
            self._average_epoch(self.average, request.number)
        validation_loss, validation_accuracy = self._validate()
        return ComputedEpoch(
            train_loss,
            train_accuracy,
            validation_loss,
            validation_accuracy,
            seconds=time.perf_counter() - begin,
            images_per_second=images / (trained - begin),
            updates=updates,
            environment=self._environment(),
            weights=self._weights,
            state=self._state,
        )

    def _follow(self, request: EpochRequest) -> None:
        """Freeze and thaw layers and set learning rates by the recipe for this epoch."""
        rates = self.recipe.rates(request.number, request.learning_rate)
        frozen = [rate == 0 for rate in rates]
        if frozen != self._frozen:
            freeze(self.network, frozen, follow=self.recipe.follows)
            # Layers whose statistics follow are no fixed function of an image.
            count = 0 if self.recipe.follows else len(list(takewhile(bool, frozen[:-1])))
            self.prefix = FrozenPrefix(self.network, count, self.device)
            self._frozen = frozen
        self._rates = [rates[i] for i in self._layers]

    def _train(self, epoch: int) -> tuple[float, float, int, int]:
        """Train one epoch: mean loss and accuracy over its images, their number, and the steps."""
        recipe, split, place = self.recipe, self.train, self.device.torch_device
        order = recipe.order(split, epoch).to(place)
        draws = recipe.generator("augmentation", epoch, place)
        self.network.train()
        self.network.dropout.generator = recipe.generator("dropout", epoch, place)
        outputs = None
        if not recipe.changes_images:
            outputs = self.prefix.outputs(split.images, recipe.batch_size)
        loss_sum = torch.zeros((), dtype=torch.float64, device=place)
        right = torch.zeros((), dtype=torch.int64, device=place)
        seen = updates = 0
        for indices in torch.split(order, recipe.batch_size):
            if len(indices) == 1:  # batch statistics of one image mean nothing
                continue
            labels = targets = split.labels[indices]
            weights = None if self.weights is None else self.weights[indices]
            with self.device.autocast():
                if outputs is None:
                    images = normalise(split.images[indices])
                    if recipe.changes_images:
                        images, targets, weights = recipe.augment(images, labels, weights, draws)
                    start = self.prefix(images)
                else:
                    start = outputs[indices]
                logits = self.network.finish(start, self.prefix.count)
            logits = logits.float()
            loss = recipe.loss(logits, targets, weights)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step(self._rates)
            if self.average is not None and recipe.averages_steps:
                self.average.update()
            # Kept on the device: reading a number would make every step wait.
            loss_sum += loss.detach() * len(indices)
            right += (logits.detach().argmax(1) == labels).sum()
            seen += len(indices)
            updates += 1
        return loss_sum.item() / seen, right.item() / seen, seen, updates

    def _average_epoch(self, average: AveragedNetwork, epoch: int) -> None:
        """Take the weights into the average, and re-estimate its statistics where they changed.

        They are those of the images that the epoch trained on, each as often as it was drawn.
        """
        average.update()
        changed = [
            self.recipe.follows or any(rates[i] for rates in self._epochs[:epoch])
            for i in range(len(self.network.layers) + 1)
        ]
        drawn = self.recipe.order(self.train, epoch).sort().values
        images = self.train.images[drawn.to(self.device.torch_device)]
        re_estimate(average.network, changed, images, self.device)

    @property
    def _kept(self) -> Network:
        """The network that is validated and kept: an average once it has begun."""
        if self.average is None or self.average.updates == 0:
            return self.network
        return self.average.network

    @torch.inference_mode()
    def _validate(self) -> tuple[float, float]:
        network, prefix = self._kept, self.prefix
        if network is not self.network:
            # A layer's average still moves after the layer is frozen, so no outputs are kept.
            prefix = FrozenPrefix(network, 0, self.device)
        network.eval()
        split = self.validation
        outputs = prefix.outputs(split.images, VALIDATION_BATCH)
        loss, right = 0.0, 0
        for first in range(0, len(split.labels), VALIDATION_BATCH):
            batch = slice(first, first + VALIDATION_BATCH)
            labels = split.labels[batch]
            with self.device.autocast():
                start = (
                    prefix(normalise(split.images[batch])) if outputs is None else outputs[batch]
                )
                logits = network.finish(start, prefix.count)
            logits = logits.float()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum().item())
        return loss / len(split.labels), right / len(split.labels)

    def _environment(self) -> dict[str, Any]:
        return {
            "device": self.device.name,
            "dtype": self.device.dtype,
            "threads": self.device.threads,
            "torch": torch.__version__,
        }

    def _weights(self) -> dict[str, Tensor]:
        return {k: t.detach().cpu().clone() for k, t in self._kept.state_dict().items()}

    def _state(self) -> dict[str, Tensor]:
        tensors = {f"network.{k}": t for k, t in self.network.state_dict().items()}
        for i, slots in enumerate(self.optimiser.state):
            tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in slots.items()}
        if self.average is not None:
            tensors |= {f"average.{k}": t for k, t in self.average.state().items()}
        return tensors

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue the stage from the tensors of `_state`."""
        network: dict[str, Tensor] = {}
        average: dict[str, Tensor] = {}
        for name, tensor in state.items():
            group, _, rest = name.partition(".")
            if group == "network":
                network[rest] = tensor
            elif group == "average":
                average[rest] = tensor
            else:
                index, _, slot = rest.partition(".")
                # Into the parameter's own memory format: other strides could take other kernels.
                self.optimiser.state[int(index)][slot].copy_(tensor)
        self.network.load_state_dict(network)
        if self.average is not None:
            self.average.restore(average)
