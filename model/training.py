"""A stage under way: its network and optimiser, trained and validated epoch by epoch.

What is decided lives in `model.stopping`, what is stored and when in `model.stage`; here is what
is computed. All randomness of an epoch comes from seeds derived from the course and the epoch's
number, so a stage that is taken up again from its state ends with the same bits (on the same
device, dtype, threads and versions).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the field's name
from torch import Tensor

from data.augmentation import augment
from data.tensors import normalise
from model.course import Course
from model.device import Device
from model.freezing import freeze
from model.hyperparameters import FineTuneHyperparameters
from model.network import allocate, initialise
from model.optimiser import AdamW
from model.prefix import FrozenPrefix
from model.stopping import Decisions
from model.store import Entry

VALIDATION_BATCH = 512

EpochRow = dict[str, float]


class TrialDiverged(ArithmeticError):  # noqa: N818, named by its cause
    """Training left the finite numbers; the message says where and under which learning rate."""


@dataclass(frozen=True)
class TensorSplit:
    """A split on a device.

    Attributes:
        images: [N, 1, H, W] uint8 or float32.
        labels: [N] int64.
        digest: the content digest of what it was made from.
    """

    images: Tensor
    labels: Tensor
    digest: str


class StageRun:
    """A stage under way: network, optimiser, decisions, history."""

    def __init__(self, course: Course, device: Device, start: Mapping[str, Tensor] | None) -> None:
        hyperparameters = course.hyperparameters
        self.course, self.device = course, device
        self.network = allocate(course.classes, course.image_size, hyperparameters.dropout)
        if start is None:
            initialise(self.network, _generator(torch.device("cpu"), course, "weights", 0))
        else:
            self.network.load_state_dict(dict(start))
        self.network.to(device.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.fuses:
            self.network.fuse()
        frozen = 0
        if isinstance(hyperparameters, FineTuneHyperparameters):
            frozen = hyperparameters.frozen_layers
            freeze(self.network, frozen)
        self.prefix = FrozenPrefix(self.network, frozen, device)
        trainable = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = AdamW(trainable, hyperparameters.weight_decay)
        self.decisions = Decisions(course.schedule, hyperparameters.learning_rate)
        self.history: list[EpochRow] = []
        self.best: dict[str, Tensor] = {}

    def epoch(self, train: TensorSplit, validation: TensorSplit) -> EpochRow:
        """Train one epoch, validate, decide; the row goes into the history."""
        begin = time.perf_counter()
        number = self.decisions.epochs + 1
        rate = self.decisions.learning_rate
        train_loss, train_accuracy = self._train(train, number)
        trained = time.perf_counter()
        loss, accuracy = self._validate(validation)
        if not (math.isfinite(train_loss) and math.isfinite(loss)):
            raise TrialDiverged(
                f"{self.course.stage} epoch {number}: training loss {train_loss}, validation "
                f"loss {loss} at learning rate {rate:g}; both must be finite"
            )
        if self.decisions.update(loss):
            self.best = {k: t.detach().cpu().clone() for k, t in self.network.state_dict().items()}
        row = {
            "epoch": number,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "learning_rate": rate,
            "seconds": time.perf_counter() - begin,
            "images_per_second": len(train.labels) / (trained - begin),
        }
        self.history.append(row)
        return row

    def _train(self, split: TensorSplit, epoch: int) -> tuple[float, float]:
        hyperparameters, place = self.course.hyperparameters, self.device.torch_device
        strengths = hyperparameters.augmentation
        # Drawn on the CPU, so that every device sees the same order.
        order = torch.randperm(
            len(split.labels),
            generator=_generator(torch.device("cpu"), self.course, "order", epoch),
        ).to(place)
        draws = _generator(place, self.course, "augmentation", epoch)
        self.network.train()
        self.network.dropout.generator = _generator(place, self.course, "dropout", epoch)
        is_changed = any(strengths.model_dump().values())
        outputs = None
        if not is_changed:
            outputs = self.prefix.outputs(split.images, hyperparameters.batch_size)
        loss_sum = torch.zeros((), dtype=torch.float64, device=place)
        right = torch.zeros((), dtype=torch.int64, device=place)
        seen = 0
        for indices in torch.split(order, hyperparameters.batch_size):
            if len(indices) == 1:  # batch statistics of one image mean nothing
                continue
            labels = split.labels[indices]
            with self.device.autocast():
                if outputs is None:
                    images = augment(normalise(split.images[indices]), strengths, draws)
                    start = self.prefix(images)
                else:
                    start = outputs[indices]
                logits = self.network.finish(start, self.prefix.count)
            logits = logits.float()
            loss = F.cross_entropy(logits, labels, label_smoothing=hyperparameters.label_smoothing)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step(self.decisions.learning_rate)
            # Kept on the device: reading a number out would make every step wait.
            loss_sum += loss.detach() * len(indices)
            right += (logits.detach().argmax(1) == labels).sum()
            seen += len(indices)
        return loss_sum.item() / seen, right.item() / seen

    @torch.inference_mode()
    def _validate(self, split: TensorSplit) -> tuple[float, float]:
        self.network.eval()
        outputs = self.prefix.outputs(split.images, VALIDATION_BATCH)
        loss, right = 0.0, 0
        for first in range(0, len(split.labels), VALIDATION_BATCH):
            batch = slice(first, first + VALIDATION_BATCH)
            labels = split.labels[batch]
            with self.device.autocast():
                start = (
                    self.prefix(normalise(split.images[batch]))
                    if outputs is None
                    else outputs[batch]
                )
                logits = self.network.finish(start, self.prefix.count)
            logits = logits.float()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum().item())
        return loss / len(split.labels), right / len(split.labels)

    def _record(self) -> dict[str, Any]:
        environment = {
            "device": self.device.name,
            "dtype": self.device.dtype,
            "threads": self.device.threads,
            "torch": torch.__version__,
        }
        return {
            "decisions": self.decisions.state(),
            "history": self.history,
            "environment": environment,
        }

    def result(self) -> Entry:
        """Best weights and history."""
        return Entry(self.best, self._record())

    def state(self) -> Entry:
        """All that `restore` needs."""
        tensors = {f"network.{k}": t for k, t in self.network.state_dict().items()}
        tensors |= {f"best.{k}": t for k, t in self.best.items()}
        for i, slots in enumerate(self.optimiser.state):
            tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in slots.items()}
        return Entry(tensors, self._record())

    def restore(self, state: Entry) -> None:
        """Take up the stage where `state` was taken."""
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}}
        for name, tensor in state.tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        self.network.load_state_dict(groups["network"])
        self.best = groups["best"]
        for name, tensor in groups["optimiser"].items():
            index, _, slot = name.partition(".")
            # Into the parameter's own memory format: other strides could take other kernels.
            self.optimiser.state[int(index)][slot].copy_(tensor)
        self.decisions = Decisions.restore(self.course.schedule, state.record["decisions"])
        self.history = list(state.record["history"])


def _generator(place: torch.device, course: Course, purpose: str, epoch: int) -> torch.Generator:
    return torch.Generator(place).manual_seed(course.seed_for(purpose, epoch))
