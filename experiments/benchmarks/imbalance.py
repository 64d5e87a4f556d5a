"""Copies of a dataset with classes of different size, to see what balancing does."""

from __future__ import annotations

import numpy as np

from shiftsearch.data.dataset import Dataset, Split


def imbalanced(dataset: Dataset, factor: float) -> Dataset:
    """A copy in which class sizes fall evenly, on a logarithmic scale, from all to 1 / `factor`.

    The first images of each class are kept, at least two, in every split.

    Args:
        dataset: what to thin out.
        factor: at least 1; with 10 the last class keeps a tenth of its images.

    Raises:
        ValueError: `factor` is below 1.
    """
    if not factor >= 1:
        raise ValueError(f"the factor of imbalance is {factor}, but must be at least 1")
    shares = factor ** -np.linspace(0, 1, len(dataset.classes))

    def thinned(split: Split) -> Split:
        own = [np.flatnonzero(split.labels == label) for label in range(len(shares))]
        counts = [max(2, round(len(o) * share)) for o, share in zip(own, shares, strict=True)]
        return split.take(
            np.sort(np.concatenate([o[:n] for o, n in zip(own, counts, strict=True)]))
        )

    splits = {name: thinned(split) for name, split in dataset.splits.items()}
    return Dataset(dataset.classes, splits, scale=dataset.scale, bits=dataset.bits)
