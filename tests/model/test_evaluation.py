"""Evaluation, against counts made by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from shiftsearch.model.evaluation import BATCH, correct, evaluate, predict, summarise
from shiftsearch.model.network import Network, allocate, initialise

pytestmark = pytest.mark.unit

# true class -> probabilities; right, wrong, right, wrong (no image of class 2)
LABELS = torch.tensor([0, 0, 1, 3])
PROBABILITIES = torch.tensor(
    [[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1], [0.1, 0.8, 0.1, 0.0], [0.1, 0.2, 0.6, 0.1]]
)


@pytest.fixture
def network() -> Network:
    network = allocate(3, (16, 16))
    initialise(network, torch.Generator().manual_seed(0))
    return network


def make_images(count: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, 1, 16, 16), generator=draws, dtype=torch.uint8)


def test_counts_made_by_hand() -> None:
    evaluation = summarise(PROBABILITIES, LABELS)
    assert evaluation.n == 4
    assert evaluation.accuracy == 0.5
    assert evaluation.per_class == (0.5, 1.0, None, 0.0)
    assert evaluation.confusion == ((1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))
    loss = -sum(map(math.log, (0.7, 0.2, 0.8, 0.1))) / 4
    assert evaluation.loss == pytest.approx(loss, rel=1e-6)
    assert correct(PROBABILITIES, LABELS).tolist() == [True, False, True, False]


def test_json_is_valid_and_comes_back_equal() -> None:
    certain_and_wrong = summarise(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([1]))
    assert math.isfinite(certain_and_wrong.loss)
    for evaluation in (summarise(PROBABILITIES, LABELS), certain_and_wrong):
        values = evaluation.to_json()
        assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_no_images_are_refused(network: Network) -> None:
    with pytest.raises(ValueError, match="at least one image, got 0"):
        evaluate(network, make_images(0), torch.zeros(0, dtype=torch.int64))


def test_predictions_are_float32_probabilities_in_the_order_of_the_images(
    network: Network,
) -> None:
    network.train()
    images = make_images(BATCH + 10)
    probabilities = predict(network, images)
    assert not network.training
    assert probabilities.shape == (BATCH + 10, 3)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(1), torch.ones(BATCH + 10))
    with torch.inference_mode():
        for i in (0, BATCH - 1, BATCH, BATCH + 9):
            alone = network(images[i : i + 1].float() / 255).softmax(1)[0]
            torch.testing.assert_close(probabilities[i], alone)


def test_an_image_counts_the_same_as_uint8_and_as_float(network: Network) -> None:
    images = make_images(20)
    as_float = torch.from_numpy(images.numpy().astype(np.float32) / np.float32(255))
    assert torch.equal(predict(network, images), predict(network, as_float))
    labels = torch.arange(20) % 3
    assert evaluate(network, images, labels) == summarise(predict(network, images), labels)
