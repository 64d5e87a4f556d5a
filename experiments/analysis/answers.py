"""One network's predictions on TEST2's selection part, before and after fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.dataset import Split
from shiftsearch.experiments.analysis.split_summary import Image
from shiftsearch.model.evaluation import Evaluation, correct, summarise

MAX_MISTAKES = 12


@dataclass(frozen=True)
class Mistake:
    """An image of TEST2's selection part that is misclassified after fine-tuning.

    Attributes:
        index: position in TEST2.
        image: [H, W] uint8 in 0..255 or float32 in 0..1, as stored.
        label: true class; all classes are positions in the dataset's `classes`.
        predicted: class predicted after fine-tuning.
        probability: probability of `predicted`, 0..1.
        before: class predicted before fine-tuning.
        before_probability: probability of `before`, 0..1.
        file: name of its file in the dataset's folder; None if the data does not have it.
    """

    index: int
    image: Image
    label: int
    predicted: int
    probability: float
    before: int
    before_probability: float
    file: str | None = None


@dataclass(frozen=True)
class Predictions:
    """The exported network on TEST2's selection part.

    Attributes:
        counts: number of images of each class, the n of `Evaluation.per_class`.
        before, after: evaluations; `per_class` (None for a class without an image), `confusion`
            (row: true class, column: predicted class), `accuracy`, `loss` and `n`.
        repaired: number of images wrong before fine-tuning and right after it.
        broken: number of images right before and wrong after.
        mistakes: the most confident wrong predictions after fine-tuning, at most MAX_MISTAKES, the
            most probable first. The number of all mistakes is the sum of the entries of
            `after.confusion` outside its diagonal.
    """

    counts: tuple[int, ...]
    before: Evaluation
    after: Evaluation
    repaired: int
    broken: int
    mistakes: tuple[Mistake, ...]


def predictions_of(
    part: Split, selection: NDArray[np.int64], probabilities: Sequence[Tensor]
) -> Predictions:
    """Compare the predictions before and after fine-tuning.

    Args:
        part: TEST2's selection part.
        selection: [n] int64, its positions in TEST2.
        probabilities: before and after, each [n, classes] float32.
    """
    labels = torch.from_numpy(part.labels)
    before, after = probabilities
    was, became = correct(before, labels), correct(after, labels)
    (best_before, class_before), (best, predicted) = before.max(dim=1), after.max(dim=1)
    order = torch.argsort(best, descending=True, stable=True).tolist()
    wrong = [i for i in order if not became[i]][:MAX_MISTAKES]
    return Predictions(
        counts=tuple(torch.bincount(labels, minlength=after.shape[1]).tolist()),
        before=summarise(before, labels),
        after=summarise(after, labels),
        repaired=int((~was & became).sum()),
        broken=int((was & ~became).sum()),
        mistakes=tuple(
            Mistake(
                index=int(selection[i]),
                image=part.images[i],
                label=int(labels[i]),
                predicted=int(predicted[i]),
                probability=float(best[i]),
                before=int(class_before[i]),
                before_probability=float(best_before[i]),
                file=None if part.files is None else os.fsdecode(part.files[i]),
            )
            for i in wrong
        ),
    )


def surest_repair(part: Split, probabilities: Sequence[Tensor]) -> int:
    """The image repaired by fine-tuning that has the highest probability.

    Returns:
        Its position in the part; 0 if there is none.
    """
    labels = torch.from_numpy(part.labels)
    was, became = (torch.from_numpy(correct(p, labels)) for p in probabilities)
    return int((probabilities[1].amax(dim=1) * (~was & became)).argmax())
