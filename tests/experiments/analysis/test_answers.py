"""Which answers fine-tuning corrected or made wrong, and the most confident mistakes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from shiftsearch.data.dataset import Split
from shiftsearch.experiments.analysis.answers import MAX_MISTAKES, predictions_of, surest_repair

pytestmark = pytest.mark.unit

LABELS = np.array([0, 0, 1, 1, 2, 2])
PART = Split(np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2), LABELS)
PLACES = np.array([3, 4, 8, 9, 20, 31])
BEFORE = [(0, 0.9), (1, 0.8), (0, 0.5), (1, 0.7), (0, 0.6), (0, 0.55)]
AFTER = [(1, 0.7), (0, 0.8), (1, 0.9), (2, 0.95), (2, 0.85), (1, 0.7)]


def answers(*given: tuple[int, float]) -> Tensor:
    """[n, 3] float32: the class and its probability, the rest shared by the others."""
    found = torch.tensor([[(1 - p) / 2] * 3 for _, p in given])
    for row, (label, probability) in zip(found, given, strict=True):
        row[label] = probability
    return found


def test_mistakes_come_surest_first_and_equal_ones_in_order() -> None:
    found = predictions_of(PART, PLACES, [answers(*BEFORE), answers(*AFTER)])
    assert [(m.index, m.label, m.predicted, m.before) for m in found.mistakes] == [
        (9, 1, 2, 1),
        (3, 0, 1, 0),
        (31, 2, 1, 0),
    ]
    sure = [(m.probability, m.before_probability) for m in found.mistakes]
    np.testing.assert_allclose(sure, [(0.95, 0.7), (0.7, 0.9), (0.7, 0.55)])
    np.testing.assert_array_equal(found.mistakes[0].image, PART.images[3])


def test_a_mistake_has_the_name_of_its_file_if_the_data_has_it() -> None:
    given = [answers(*BEFORE), answers(*AFTER)]
    files = np.array([f"TEST2/c/{n}.png".encode() for n in range(5)] + ["TEST2/c/é.png".encode()])
    named = predictions_of(replace(PART, files=files), PLACES, given).mistakes
    assert [m.file for m in named] == ["TEST2/c/3.png", "TEST2/c/0.png", "TEST2/c/é.png"]
    assert {m.file for m in predictions_of(PART, PLACES, given).mistakes} == {None}


def test_repairs_and_breaks_are_counted_apart() -> None:
    found = predictions_of(PART, PLACES, [answers(*BEFORE), answers(*AFTER)])
    assert (found.repaired, found.broken) == (3, 2)
    assert found.counts == (2, 2, 2)
    assert found.before.per_class == (0.5, 0.5, 0.0)
    assert found.after.per_class == (0.5, 0.5, 0.5)
    assert found.after.confusion == ((1, 1, 0), (0, 1, 1), (0, 1, 1))


def test_the_image_shown_is_the_surest_repair_else_the_first() -> None:
    assert surest_repair(PART, [answers(*BEFORE), answers(*AFTER)]) == 2
    assert surest_repair(PART, [answers(*AFTER), answers(*AFTER)]) == 0


def test_no_more_mistakes_are_shown_than_fit() -> None:
    many = Split(np.zeros((40, 2, 2), np.uint8), np.zeros(40, np.int64))
    wrong = answers(*[(1, 0.5 + i / 100) for i in range(40)])
    found = predictions_of(many, np.arange(40), [wrong, wrong])
    assert [m.index for m in found.mistakes] == list(range(39, 39 - MAX_MISTAKES, -1))
