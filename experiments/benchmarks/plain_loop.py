"""The protocol as an engineer writes it from the tutorials; our stage is compared with it.

Dataset and DataLoader, float32, the default memory layout, ReLU before pooling, a bias in every
convolution, `nn.Dropout`, AdamW, ReduceLROnPlateau, early stopping with the best weights, frozen
layers kept in evaluation mode, random affine maps batch by batch if the settings ask for them.
It shares only the settings and the division of TEST2 with ours.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
import torch.utils.data
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from shiftsearch.data.dataset import Dataset, Split
from shiftsearch.model.frozen import flatten
from shiftsearch.model.hyperparameters import (
    Augmentation,
    FineTuneHyperparameters,
    Hyperparameters,
    Protocol,
    Schedule,
)
from shiftsearch.model.hyperparameters import StageHyperparameters as Settings
from shiftsearch.model.prepared import division_of

EVALUATION_BATCH = 512
Item = tuple[Tensor, Tensor]
OnEpoch = Callable[[float, float], None]
"""Called after each epoch with its validation accuracy and that of the best epoch so far."""


class ImageSet(torch.utils.data.Dataset[Item]):
    """A split in memory, converted once: [1, H, W] float32 in 0..1 and its label.

    Converting in `__getitem__`, as many tutorials do, would make the plain loop slower still.
    """

    def __init__(self, split: Split) -> None:
        images = torch.tensor(split.images).unsqueeze(1)
        self.images = images.float() / 255 if images.dtype == torch.uint8 else images
        self.labels = torch.tensor(split.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Item:
        return self.images[index], self.labels[index]


class PlainNetwork(nn.Module):
    """The same function as `model.network.Network`."""

    def __init__(self, classes: int, image_size: tuple[int, int], dropout: float) -> None:
        super().__init__()
        height, width = image_size
        blocks = [
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for inputs, outputs in ((1, 32), (32, 64), (64, 128))
        ]
        dense = nn.Sequential(
            nn.Flatten(), nn.Linear(128 * (height // 8) * (width // 8), 512), nn.ReLU()
        )
        self.layers = nn.Sequential(*blocks, dense)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(512, classes)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 1, H, W] float32 to [N, classes] logits."""
        return self.head(self.dropout(self.layers(images)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PlainStage:
    """A finished stage; the network holds the best epoch's weights.

    Attributes:
        best_epoch: counted from 1.
        losses: validation loss of each epoch.
        learning_rates: learning rate of each epoch.
        train_seconds: seconds of all epochs, without validation.
    """

    best_epoch: int
    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    train_seconds: float


@dataclass(frozen=True)
class PlainResult:
    """The result of the whole protocol.

    Attributes:
        images_per_second: training speed of the baseline.
        seconds: seconds of the whole protocol, evaluations included.
        test, test2: accuracies before and after fine-tuning; TEST2's selection part.
    """

    images_per_second: float
    seconds: float
    test: tuple[float, float]
    test2: tuple[float, float]


def run_plain(
    dataset: Dataset, hyperparameters: Hyperparameters, protocol: Protocol, seed: int
) -> PlainResult:
    """Baseline on TRAIN, then fine-tuning on TEST, each followed by the evaluations."""
    train, test = ImageSet(dataset.splits["TRAIN"]), ImageSet(dataset.splits["TEST"])
    selection = division_of(dataset, protocol).selection
    test2 = ImageSet(dataset.splits["TEST2"].take(selection))
    begin = time.perf_counter()
    torch.manual_seed(seed)
    network = PlainNetwork(
        len(dataset.classes), dataset.image_size, hyperparameters.baseline.dropout
    )
    stage = train_stage(network, train, test, hyperparameters.baseline, protocol.baseline)
    before = evaluate(network, test)[1], evaluate(network, test2)[1]
    network.dropout.p = hyperparameters.fine_tune.dropout
    train_stage(network, test, test2, hyperparameters.fine_tune, protocol.fine_tune)
    after = evaluate(network, test)[1], evaluate(network, test2)[1]
    return PlainResult(
        len(train) * len(stage.losses) / stage.train_seconds,
        time.perf_counter() - begin,
        (before[0], after[0]),
        (before[1], after[1]),
    )


def train_stage(
    network: PlainNetwork,
    train: ImageSet,
    validation: ImageSet,
    settings: Settings,
    schedule: Schedule,
    on_epoch: OnEpoch | None = None,
) -> PlainStage:
    """Train until the validation loss stops falling; leave the best weights in the network.

    Raises:
        ValueError: noise, brightness or contrast is set, or an option that is off in the
            reference configuration; this loop does not have them.
    """
    extra = flatten(settings.content()).keys() - flatten(type(settings)().content()).keys()
    if extra - {"train_on"}:
        raise ValueError(f"the plain loop has no {', '.join(sorted(extra))}")
    a = settings.augmentation
    if a.noise or a.brightness or a.contrast:
        raise ValueError(
            f"augmentation is {a}, but the plain loop has rotation, scale and translation only"
        )
    frozen = settings.frozen_layers if isinstance(settings, FineTuneHyperparameters) else 0
    for layer in list(network.layers)[:frozen]:
        layer.requires_grad_(False)
    optimiser = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    # `patience` epochs may pass without a reduction; it comes with the next one.
    plateau = ReduceLROnPlateau(
        optimiser, factor=schedule.reduce_factor, patience=schedule.reduce_after - 1, threshold=0
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    loader = DataLoader(train, batch_size=settings.batch_size, shuffle=True, num_workers=0)
    best_loss, best_accuracy, best_epoch = math.inf, 0.0, 0
    best_weights = copy.deepcopy(network.state_dict())
    losses: list[float] = []
    rates: list[float] = []
    seconds = 0.0
    for epoch in range(1, schedule.max_epochs + 1):
        rates.append(optimiser.param_groups[0]["lr"])
        begin = time.perf_counter()
        train_epoch(network, loader, criterion, optimiser, frozen, settings.augmentation)
        seconds += time.perf_counter() - begin
        loss, accuracy = evaluate(network, validation)
        losses.append(loss)
        plateau.step(loss)
        if loss < best_loss:
            best_loss, best_accuracy, best_epoch = loss, accuracy, epoch
            best_weights = copy.deepcopy(network.state_dict())
        if on_epoch is not None:
            on_epoch(accuracy, best_accuracy)
        if epoch - best_epoch >= schedule.patience:
            break
    network.load_state_dict(best_weights)
    return PlainStage(best_epoch, tuple(losses), tuple(rates), seconds)


def train_epoch(
    network: PlainNetwork,
    loader: DataLoader[Item],
    criterion: nn.Module,
    optimiser: torch.optim.Optimizer,
    frozen: int,
    augmentation: Augmentation,
) -> tuple[float, float]:
    """One pass over the loader: mean loss and accuracy."""
    network.train()
    for layer in list(network.layers)[:frozen]:
        layer.eval()
    loss_sum, right, seen = 0.0, 0, 0
    is_moving = augmentation.rotation or augmentation.scale or augmentation.translation
    for images, labels in loader:
        if is_moving:
            images = random_affine(images, augmentation)
        optimiser.zero_grad()
        logits = network(images)
        loss = criterion(logits, labels)
        loss.backward()
        optimiser.step()
        loss_sum += loss.item() * len(labels)
        right += int((logits.argmax(1) == labels).sum().item())
        seen += len(labels)
    return loss_sum / seen, right / seen


def random_affine(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Rotate and scale each image about its centre, then shift it, by random amounts.

    The same as torchvision's RandomAffine for one image, with our strengths and units.

    Args:
        images: [N, 1, H, W] float32.
        augmentation: largest angle, change of size and shift.

    Returns:
        [N, 1, H, W] float32, zero where nothing was.
    """
    n, _, height, width = images.shape
    angle = torch.deg2rad((torch.rand(n) * 2 - 1) * augmentation.rotation)
    size = 1 + (torch.rand(n) * 2 - 1) * augmentation.scale
    pixels = (torch.rand(n, 2) * 2 - 1) * augmentation.translation
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    # affine_grid takes the inverse map, from a place in the result to its source, both in -1..1.
    rows = [cos, -sin * height / width, sin * width / height, cos]
    matrix = torch.stack(rows, dim=1).view(n, 2, 2)
    shift = pixels * 2 / torch.tensor([width, height])
    theta = torch.cat([matrix, -matrix @ shift.unsqueeze(2)], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.no_grad()
def evaluate(network: PlainNetwork, images: ImageSet) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    network.eval()
    loss, right = 0.0, 0
    for batch, labels in DataLoader(images, batch_size=EVALUATION_BATCH):
        logits = network(batch)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum().item())
    return loss / len(images), right / len(images)
