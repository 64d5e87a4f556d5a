"""Folds: a split divided into parts of about the same size, for cross-fitting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import Split, divide


def divide_into_folds(split: Split, count: int, seed: int) -> list[NDArray[np.int64]]:
    """Divide a split into folds, class by class, keeping identical images together.

    One fold after the other is divided off what is left, see `divide`. With few duplicates, the
    images of a class in two folds differ by one at most.

    Args:
        split: what to divide.
        count: number of folds, >= 1.
        seed: seeds the random choices, >= 0.

    Returns:
        `count` times [n] int64, sorted positions in the split. Each position is in one fold. A
        fold is empty if there are too few different images.
    """
    rest, folds = np.arange(len(split)), list[NDArray[np.int64]]()
    for left in range(count, 1, -1):
        division = divide(split.take(rest), 1 / left, seed)
        folds.append(rest[division.held_out])
        rest = rest[division.selection]
    return [*folds, rest]
