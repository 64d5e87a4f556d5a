"""What trials are ranked by: a number of a protocol's result, larger is better.

The scores of a confusion matrix are computed only here. A stage's results keep them beside the
accuracy, so that an objective is read from a result without the store. Early stopping and the
learning rate follow the validation loss whatever the objective is, so no training depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shiftsearch.model.result import Matrix, ProtocolResult

Score = Callable[[NDArray[Any]], NDArray[np.float64]]
"""From confusion matrices, [..., classes, classes] counts or weights >= 0 with the true class by
row, to [...] values in 0..1. A matrix holds at least one image."""

UNEQUAL = 1.5
"""Classes count as of different size when a split has more than this times as many images of its
largest class as of its smallest one."""


def accuracy(confusion: NDArray[Any]) -> NDArray[np.float64]:
    """Fraction of the images that are classified correctly; a `Score`."""
    right = np.trace(confusion, axis1=-2, axis2=-1)
    found: NDArray[np.float64] = right / confusion.sum((-2, -1))
    return found


def balanced_accuracy(confusion: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the classes of the fraction of their images classified correctly; a `Score`.

    A class without images does not count. Source: Brodersen et al. 2010, doi
    10.1109/ICPR.2010.764, section 2.2; equal to scikit-learn's `balanced_accuracy_score`.
    """
    images = confusion.sum(-1)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean(right, images, images > 0)


def f1_macro(confusion: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the classes of their F1, 2 right / (images + predictions); a `Score`.

    A class that neither has an image nor is predicted does not count; with only one of both its F1
    is 0. Source: Sokolova and Lapalme 2009, doi 10.1016/j.ipm.2009.03.002, table 3, with the mean
    of each class's F1 as in scikit-learn's `f1_score(average="macro")`.
    """
    both = confusion.sum(-1) + confusion.sum(-2)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean(2 * right, both, both > 0)


def _mean(
    parts: NDArray[Any], wholes: NDArray[Any], counts: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean of parts / wholes over the last axis, where it counts."""
    fractions = parts / np.where(counts, wholes, 1)
    found: NDArray[np.float64] = (fractions * counts).sum(-1) / counts.sum(-1)
    return found


class Scored(Protocol):
    """A `SplitResult`, or a `model.evaluation.Evaluation`."""

    @property
    def accuracy(self) -> float:
        """In 0..1."""

    @property
    def confusion(self) -> Matrix | None:
        """The confusion matrix, if it is kept."""


@dataclass(frozen=True)
class Objective:
    """What trials are ranked by; larger is better.

    Attributes:
        name: as in an experiment file; also the field of a `SplitResult` that holds the value.
        title: in words.
        score: computes the value from a confusion matrix.
    """

    name: str
    title: str
    score: Score

    @property
    def column(self) -> str:
        """Name of the objective's value in tables and messages, such as `test2_accuracy`."""
        return f"test2_{self.name}"

    def of(self, result: ProtocolResult) -> float:
        """The value that ranks a trial: on TEST2's selection part, after the whole protocol.

        Raises:
            ValueError: see `of_split`.
        """
        return self.of_split(result.fine_tune.test2)

    def of_split(self, split: Scored) -> float:
        """The value on the images of a split, in 0..1.

        Raises:
            ValueError: the result was stored by a version that did not compute the value.
        """
        found: float | None = getattr(split, self.name, None)
        if found is not None:
            return found
        if split.confusion is None:
            raise ValueError(f"the result has no {self.name}; an earlier version made it")
        return self.of_confusion(split.confusion)

    def of_confusion(self, confusion: ArrayLike) -> float:
        """The value of a confusion matrix, [classes][classes] counts with at least one image."""
        return float(self.score(np.asarray(confusion)))


ACCURACY = Objective("accuracy", "accuracy", accuracy)
BALANCED_ACCURACY = Objective("balanced_accuracy", "balanced accuracy", balanced_accuracy)
F1_MACRO = Objective("f1_macro", "macro F1", f1_macro)

OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective for objective in (ACCURACY, BALANCED_ACCURACY, F1_MACRO)
}
"""The objectives by name. `accuracy` is neutral: it is in no identity."""


def are_unequal(counts: Sequence[int]) -> bool:
    """Whether classes with these numbers of images are of different size, see `UNEQUAL`."""
    return max(counts) > UNEQUAL * min(counts)


def beside_accuracy(objective: Objective, counts: Mapping[str, Sequence[int]]) -> list[Objective]:
    """The scores that are shown beside the accuracy.

    Args:
        objective: the run's, which is always shown.
        counts: images of each class, by split. Balanced accuracy is shown if the classes of a
            split are of different size.
    """
    found = [] if objective == ACCURACY else [objective]
    if any(map(are_unequal, counts.values())) and BALANCED_ACCURACY not in found:
        found.append(BALANCED_ACCURACY)
    return found
