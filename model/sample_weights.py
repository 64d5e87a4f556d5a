"""Weights of training images, from their files or by density ratio; see `data.weights`."""

from __future__ import annotations

from shiftsearch.data.dataset import Split
from shiftsearch.data.scale import Pixels
from shiftsearch.data.weights import WEIGHTS, Weights, mean_one


def sample_weights(source: str, train: Split, target: Pixels) -> Weights:
    """The weights of the images of a training set.

    Args:
        source: "file" or "density_ratio".
        train: N images, as they are trained on.
        target: [M, H, W], the images of TEST2's selection part in the same form; used by
            "density_ratio" only.

    Returns:
        [N] float64 >= 0, mean 1.

    Raises:
        ValueError: "file", but no trained split has a file.
    """
    if source == "density_ratio":
        from shiftsearch.data.density_ratio import density_ratio  # with SciPy's optimisers

        return density_ratio(train.images, target)
    if train.weights is None:
        raise ValueError(f"sample_weights is 'file', but the trained images have no {WEIGHTS}")
    return mean_one(train.weights)
