"""One stage: a training run with early stopping, as a pure function of its course.

What is decided lives in `model.stopping`; here is what is computed, one epoch at a time, and how
a stage is stored and taken up again. All randomness of an epoch comes from seeds derived from
the course and the epoch's number, so a stage that was killed anywhere and is started again from
its last stored state ends with the same bits (on the same device, dtype, threads and versions).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from model.store import Entry, Store

SAVE_EVERY = 30.0
"""Seconds between resumable states; written at the end of the epoch in which they have passed."""

VALIDATION_BATCH = 512

EpochRow = dict[str, float]
OnEpoch = Callable[[str, EpochRow], None]


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


@dataclass(frozen=True)
class StageResult:
    """What a stage, or a rung of it, came to.

    Attributes:
        course: its key.
        epochs: trained.
        best_epoch: whose weights these are, counted from 1.
        weights: the network's state at the best epoch, on the CPU.
        history: one row per epoch: epoch, train_loss, train_accuracy, validation_loss,
            validation_accuracy, learning_rate, seconds, images_per_second.
        environment: device, dtype, threads and versions it was computed under.
        finished: whether the stopping rule ended it, not a rung.
    """

    course: str
    epochs: int
    best_epoch: int
    weights: Mapping[str, Tensor]
    history: tuple[EpochRow, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = True

    @property
    def key(self) -> str:
        """The result key: course key and number of epochs."""
        return f"{self.course}-{self.epochs:04d}"

    @property
    def seconds(self) -> float:
        """Training and validation time of all epochs."""
        return sum(row["seconds"] for row in self.history)


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
) -> StageResult:
    """Find the stage done, or take it up where it was left, or begin it.

    Args:
        course: what to compute.
        train, validation: the splits named in the course, on the device.
        store: where results and resumable states lie.
        device: how to compute; recorded, not part of the course.
        start: the parent's weights; None draws them from the course's seed.
        until: a rung: stop after so many epochs (a longer budget continues it); None: to the end.
        on_epoch: called with the stage's name and each epoch's row, stored rows included.

    Raises:
        TrialDiverged: when a loss is not finite; the stage stores nothing of that epoch.
    """
    limit = min(until or course.schedule.max_epochs, course.schedule.max_epochs)
    done = stored_result(store, course.key, limit)
    if done is not None:
        if store.path(course.key, "final").exists():
            store.delete(course.key, "state")  # a kill between publishing and deleting left it
        _announce(course, done.history, on_epoch)
        return done
    run = _StageRun(course, device, start)
    state = store.load(course.key, "state")
    if state is not None and state.record["decisions"]["epochs"] <= limit:
        run.restore(state)
        _announce(course, run.history, on_epoch)
    saved = time.monotonic()
    while not run.decisions.finished and run.decisions.epochs < limit:
        row = run.epoch(train, validation)
        if on_epoch is not None:
            on_epoch(course.stage, row)
        if time.monotonic() - saved >= SAVE_EVERY:
            store.save(course.key, "state", run.state())
            saved = time.monotonic()
    if run.decisions.finished:
        store.save(course.key, "final", run.result())
        store.delete(course.key, "state")
    else:
        store.save(course.key, "state", run.state())
        store.save(course.key, f"epochs-{limit:04d}", run.result())
    return _to_result(course.key, run.result(), finished=run.decisions.finished)


def stored_result(store: Store, key: str, limit: int) -> StageResult | None:
    """The result of a course under a budget of `limit` epochs, or None if it is not computed."""
    final = store.load(key, "final")
    if final is not None and final.record["decisions"]["epochs"] <= limit:
        return _to_result(key, final, finished=True)
    rung = store.load(key, f"epochs-{limit:04d}")
    return None if rung is None else _to_result(key, rung, finished=False)


def _to_result(key: str, entry: Entry, *, finished: bool) -> StageResult:
    decisions = entry.record["decisions"]
    return StageResult(
        key,
        decisions["epochs"],
        decisions["best_epoch"],
        entry.tensors,
        tuple(entry.record["history"]),
        entry.record["environment"],
        finished,
    )


def _announce(course: Course, history: Sequence[EpochRow], on_epoch: OnEpoch | None) -> None:
    if on_epoch is not None:
        for row in history:
            on_epoch(course.stage, row)


class _StageRun:
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
