"""Evaluate a network on a split, always in float32, as the exported model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's name
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.tensors import normalise
from shiftsearch.model.network import Network

BATCH = 256


@dataclass(frozen=True)
class Evaluation:
    """How well a network classifies n images.

    Attributes:
        n: number of images.
        accuracy: fraction of images that are classified correctly, in 0..1.
        loss: mean cross-entropy, in nats.
        per_class: accuracy of each class; None where a class has no image.
        confusion: [classes][classes] counts; row: true class, column: predicted class.
    """

    n: int
    accuracy: float
    loss: float
    per_class: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_json` wrote."""
        confusion = tuple(tuple(row) for row in raw["confusion"])
        return cls(**{**raw, "per_class": tuple(raw["per_class"]), "confusion": confusion})

    def to_json(self) -> dict[str, Any]:
        """The evaluation as plain JSON values."""
        return asdict(self) | {
            "per_class": list(self.per_class),
            "confusion": [list(row) for row in self.confusion],
        }


@torch.inference_mode()
def predict(network: Network, images: Tensor) -> Tensor:
    """Class probabilities: [N, 1, H, W] uint8 or float32 to [N, classes] float32 on the CPU.

    Leaves the network in evaluation mode.
    """
    network.eval()
    parts = [
        F.softmax(network(_channels_last(normalise(batch))).float(), dim=1).cpu()
        for batch in torch.split(images, BATCH)
    ]
    return torch.cat(parts)


def evaluate(network: Network, images: Tensor, labels: Tensor) -> Evaluation:
    """Accuracy, loss, per-class accuracy and confusion matrix.

    Args:
        network: on the images' device; left in evaluation mode.
        images: [N, 1, H, W] uint8 or float32.
        labels: [N] int64.

    Raises:
        ValueError: without images.
    """
    if len(labels) == 0:
        raise ValueError("evaluation needs at least one image, got 0")
    return summarise(predict(network, images), labels.cpu())


def summarise(probabilities: Tensor, labels: Tensor) -> Evaluation:
    """The evaluation of [N, classes] float32 probabilities against [N] int64 labels."""
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    confusion = torch.bincount(labels * classes + predicted, minlength=classes**2)
    table = confusion.reshape(classes, classes)
    totals, right = table.sum(1).tolist(), table.diagonal().tolist()
    loss = F.nll_loss(probabilities.double().clamp_min(1e-38).log(), labels).item()
    return Evaluation(
        n=len(labels),
        accuracy=sum(right) / len(labels),
        loss=loss,
        per_class=tuple(r / t if t else None for r, t in zip(right, totals, strict=True)),
        confusion=tuple(tuple(row) for row in table.tolist()),
    )


def correct(probabilities: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """Which images are classified correctly: [N] bool."""
    result: NDArray[np.bool_] = (probabilities.argmax(1) == labels).numpy()
    return result


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
