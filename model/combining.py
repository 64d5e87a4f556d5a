"""Models made of trained models without training: means of weights, means of probabilities.

Sources: Wortsman et al. 2022, arXiv 2203.05482, recipe 1, for the greedy soup; Wortsman et al.
2021, arXiv 2109.01903, equation 1, for the interpolation of a network and its fine-tune (WiSE-FT),
which is a weighted mean too; Caruana et al. 2004, doi 10.1145/1015330.1015432, section 2.1, for
the greedy ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Score = tuple[float, float]
"""The objective, in 0..1, and minus the loss, in nats; larger is better, the objective first."""


def mean_weights(
    states: Sequence[Mapping[str, Tensor]], shares: Sequence[float]
) -> dict[str, Tensor]:
    """The weighted mean of networks' states, batch statistics included.

    Args:
        states: of networks of one architecture; at least one.
        shares: one for each state, with sum 1.

    Returns:
        A new state with the dtypes of the first one. A tensor of integers, such as a counter of
        batches, is the first one's.

    Raises:
        ValueError: the states have other names or shapes than the first, or there is not one share
            for each.
    """
    first = states[0]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes) or len(shares) != len(states):
        raise ValueError(
            f"{len(states)} states and {len(shares)} shares: the states must have equal names and "
            "shapes, and a share each"
        )
    if len(states) == 1:
        return dict(first)
    return {
        name: sum(
            (share * state[name].double() for state, share in zip(states, shares, strict=True)),
            start=torch.zeros((), dtype=torch.float64),
        ).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in first.items()
    }


def mean_probabilities(
    each: Sequence[NDArray[np.float32]], shares: Sequence[float]
) -> NDArray[np.float32]:
    """The weighted mean of probabilities, [n, classes]; those of a single one as they are."""
    if len(each) == 1:
        return each[0]
    total = sum(s * one.astype(np.float64) for one, s in zip(each, shares, strict=True))
    return np.asarray(total, np.float32)


def greedy_soup(
    ranked: Sequence[int], score: Callable[[tuple[int, ...]], Score]
) -> tuple[int, ...]:
    """The members of the greedy soup, the best single one first.

    A candidate becomes a member if the mean of the weights is then no worse.

    Args:
        ranked: the candidates, best first.
        score: the score of the mean of some candidates' weights. Recipe 1 compares the accuracy
            alone; here the loss decides between equal ones.
    """
    members = tuple(ranked[:1])
    best = score(members)
    for candidate in ranked[1:]:
        found = score((*members, candidate))
        if found >= best:
            members, best = (*members, candidate), found
    return members


def greedy_ensemble(
    probabilities: Sequence[NDArray[np.float32]],
    score: Callable[[NDArray[np.float32]], Score],
    draws: int,
) -> list[int]:
    """The members of the greedy ensemble, drawn with replacement, in the order of the draws.

    Each draw takes the candidate whose addition makes the mean of the probabilities best; of equal
    ones the first. The draws up to the best mean are kept.

    Args:
        probabilities: [n, classes] of each candidate on the same images, in 0..1.
        score: the score of such probabilities.
        draws: the largest number of draws, at least 1.

    Returns:
        Positions of candidates; one that counts twice is in it twice.
    """
    chosen: list[int] = []
    best: tuple[Score, int] | None = None
    total = np.zeros_like(probabilities[0])
    for count in range(1, draws + 1):
        scores = [score((total + one) / np.float32(count)) for one in probabilities]
        place = max(range(len(scores)), key=lambda i: (scores[i], -i))
        chosen.append(place)
        total = total + probabilities[place]
        if best is None or scores[place] > best[0]:
            best = scores[place], count
    assert best is not None
    return chosen[: best[1]]
