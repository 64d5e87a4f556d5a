"""Means of weights, greedy soups and greedy ensembles, on numbers that can be followed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from shiftsearch.model.combining import Score, greedy_ensemble, greedy_soup, mean_weights

pytestmark = pytest.mark.unit


def state(value: float, batches: int = 3) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([value, 2 * value]), "batches": torch.tensor(batches)}


def test_weights_are_averaged_by_their_shares_and_counters_are_the_first_s() -> None:
    found = mean_weights([state(1.0), state(5.0, batches=9)], [0.75, 0.25])
    assert found["weight"].tolist() == [2.0, 4.0]
    assert found["weight"].dtype == torch.float32
    assert found["batches"].item() == 3


def test_one_state_is_returned_bit_for_bit() -> None:
    one = {"weight": torch.tensor([0.1, 1 / 3])}
    assert torch.equal(mean_weights([one], [1.0])["weight"], one["weight"])


@pytest.mark.parametrize(
    ("other", "shares"),
    [
        ({"weight": torch.zeros(3)}, [0.5, 0.5]),
        ({"w": torch.zeros(2)}, [0.5, 0.5]),
        ({"weight": torch.zeros(2)}, [1.0]),
    ],
)
def test_other_networks_are_not_averaged(
    other: dict[str, torch.Tensor], shares: list[float]
) -> None:
    with pytest.raises(ValueError, match="2 states"):
        mean_weights([{"weight": torch.zeros(2)}, other], shares)


def test_a_soup_takes_what_does_not_make_it_worse() -> None:
    scores: dict[tuple[int, ...], Score] = {
        (4,): (0.9, -0.3),
        (4, 2): (0.89, -0.1),  # worse, though its loss is lower
        (4, 7): (0.9, -0.3),  # equal: taken
        (4, 7, 1): (0.9, -0.31),  # as accurate, with a higher loss
        (4, 7, 0): (0.95, -0.5),
    }
    assert greedy_soup([4, 2, 7, 1, 0], scores.__getitem__) == (4, 7, 0)


def by_accuracy(labels: np.ndarray) -> Callable[[np.ndarray], Score]:
    def score(probabilities: np.ndarray) -> Score:
        likelihood = np.log(probabilities[np.arange(len(labels)), labels]).mean()
        return float((probabilities.argmax(1) == labels).mean()), float(likelihood)

    return score


def test_an_ensemble_draws_with_replacement_and_ends_at_its_best_mean() -> None:
    """The second one repairs the third image; only twice the first keeps the first image right."""
    first = np.array([[0.6, 0.4], [0.9, 0.1], [0.45, 0.55]], np.float32)
    second = np.array([[0.35, 0.65], [0.5, 0.5], [0.7, 0.3]], np.float32)
    score = by_accuracy(np.array([0, 0, 0]))
    assert sorted(greedy_ensemble([first, second], score, 3)) == [0, 0, 1]
    assert len(greedy_ensemble([first, second], score, 1)) == 1


def test_an_ensemble_of_one_draw_is_the_best_single_model_of_equal_ones_the_first() -> None:
    score = by_accuracy(np.array([0, 1]))
    wrong = np.array([[0.2, 0.8], [0.8, 0.2]], np.float32)
    right = np.array([[0.8, 0.2], [0.2, 0.8]], np.float32)
    assert greedy_ensemble([wrong, right, right], score, 1) == [1]
    assert greedy_ensemble([wrong, right, right], score, 5) == [1]
