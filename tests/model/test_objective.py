"""Scores of confusion matrices, and objectives of results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shiftsearch.model.objective import (
    ACCURACY,
    BALANCED_ACCURACY,
    F1_MACRO,
    OBJECTIVES,
    are_unequal,
    beside_accuracy,
)
from tests.made_results import made_result, made_stage

pytestmark = pytest.mark.unit


def plain_scores(labels: list[int], predicted: list[int]) -> tuple[float, float]:
    """Balanced accuracy and macro F1 as scikit-learn defines them, image by image."""
    pairs = list(zip(labels, predicted, strict=True))
    recalls = [
        sum(p == k for t, p in pairs if t == k) / labels.count(k) for k in sorted(set(labels))
    ]
    f1 = []
    for k in sorted({*labels, *predicted}):
        right = sum(t == p == k for t, p in pairs)
        wrong = sum((t == k) != (p == k) for t, p in pairs)
        f1.append(2 * right / (2 * right + wrong))
    return sum(recalls) / len(recalls), sum(f1) / len(f1)


def test_scores_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 3, 6, 6, 6):
        labels = rng.integers(classes, size=9).tolist()
        predicted = rng.integers(classes, size=9).tolist()
        matrix = np.zeros((classes, classes), int)
        np.add.at(matrix, (labels, predicted), 1)
        assert ACCURACY.of_confusion(matrix) == np.mean(np.equal(labels, predicted))
        balanced, f1 = plain_scores(labels, predicted)
        assert BALANCED_ACCURACY.of_confusion(matrix) == pytest.approx(balanced)
        assert F1_MACRO.of_confusion(matrix) == pytest.approx(f1)


def test_classes_without_images() -> None:
    # scikit-learn 1.7: balanced_accuracy_score([0, 0, 1], [0, 2, 1]) is 0.75, and
    # f1_score(..., average="macro") is (2 / 3 + 1 + 0) / 3.
    matrix = [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert BALANCED_ACCURACY.of_confusion(matrix) == 0.75
    assert F1_MACRO.of_confusion(matrix) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_many_matrices_are_scored_at_once() -> None:
    several = np.random.default_rng(1).integers(1, 9, size=(5, 4, 4))
    for objective in OBJECTIVES.values():
        assert objective.score(several).tolist() == pytest.approx(
            [objective.of_confusion(one) for one in several]
        )


def test_the_value_is_the_one_after_fine_tuning_on_test2() -> None:
    result = made_result(0.75)
    assert ACCURACY.of(result) == 0.75
    test2 = replace(result.fine_tune.test2, balanced_accuracy=0.25, f1_macro=0.125)
    result = replace(result, fine_tune=replace(result.fine_tune, test2=test2))
    assert [objective.of(result) for objective in OBJECTIVES.values()] == [0.75, 0.25, 0.125]
    assert BALANCED_ACCURACY.column == "test2_balanced_accuracy"


def test_results_of_earlier_versions() -> None:
    split = made_stage(0.5, 0.5).test2
    assert ACCURACY.of_split(split) == 0.5
    with pytest.raises(ValueError, match="f1_macro"):
        F1_MACRO.of_split(split)
    assert BALANCED_ACCURACY.of_split(replace(split, confusion=[[3, 1], [0, 1]])) == 0.875


def test_balanced_accuracy_is_shown_when_classes_differ() -> None:
    assert [are_unequal(c) for c in ([3, 2], [4, 2], [1, 0], [5, 5])] == [False, True, True, False]
    equal, unequal = {"TRAIN": [9, 9], "TEST": [3, 2]}, {"TRAIN": [9, 9], "TEST": [4, 2]}
    assert beside_accuracy(ACCURACY, equal) == []
    assert beside_accuracy(ACCURACY, unequal) == [BALANCED_ACCURACY]
    assert beside_accuracy(F1_MACRO, equal) == [F1_MACRO]
    assert beside_accuracy(F1_MACRO, unequal) == [F1_MACRO, BALANCED_ACCURACY]
    assert beside_accuracy(BALANCED_ACCURACY, unequal) == [BALANCED_ACCURACY]
