"""The numbers of a model card, from the rows of `metrics` in `bundle.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.experiments.outcome.markdown import plain, table
from shiftsearch.experiments.outcome.statistics import difference_of, wilson
from shiftsearch.experiments.wording import interval, percent, points
from shiftsearch.model.bundle_facts import Facts, Scores, scores_of
from shiftsearch.model.bundle_format import Record
from shiftsearch.model.objective import OBJECTIVES, Objective, beside_accuracy

MAX_CLASSES = 16
"""Most classes whose confusions are a square table."""
MAX_CONFUSIONS = 20
MEANS = {
    "held out": "they chose nothing; the number to cite",
    "selected on": "they chose the model, so the accuracy on new images is lower",
    "trained on": "they say nothing about new images",
    "all": "both parts together",
    "out of fold": "each image was scored by a fine-tune that it did not choose",
}


def counts_of(record: Record[Any], facts: Facts) -> dict[str, tuple[int, ...]]:
    """Number of images of each class, by split; empty if the bundle does not record them."""
    size = len(record.classes)
    return {split: counts for split, counts in facts.images.items() if len(counts) == size}


def numbers(record: Record[Any], facts: Facts) -> list[list[str]]:
    """Accuracies before and after fine-tuning with n and interval, and the optimism."""
    before, after = _by_images(record, "before"), _by_images(record, "after")
    beside = beside_accuracy(OBJECTIVES[facts.objective], counts_of(record, facts))
    rows = []
    for name, found in after.items():
        start = before.get(name)
        rows.append(
            [
                name,
                f"{plain(found.label)}: {MEANS.get(found.label, '-')}",
                str(found.n),
                "-" if start is None else percent(start.accuracy),
                percent(found.accuracy),
                interval(wilson(found.accuracy, found.n)),
                *(percent(_value(score, found)) for score in beside),
            ]
        )
    header = ["images", "used for", "n", "before fine-tuning", "accuracy", "95 % interval"]
    header += [score.title for score in beside]
    return [table(header, rows, 2) if rows else ["No accuracies are recorded."], _optimism(after)]


def _value(score: Objective, found: Scores) -> float:
    matrix = np.array(found.confusion)
    return score.of_confusion(matrix) if matrix.sum() else 0.0


def _by_images(record: Record[Any], stage: str) -> dict[str, Scores]:
    """The rows of a stage by split and part; with all of TEST2, if it has both parts."""
    found = {
        row.split if row.part == "all" else f"{row.split} {row.part}": row
        for row in scores_of(record)
        if row.stage == stage
    }
    one, other = found.get("TEST2 selection"), found.get("TEST2 held-out")
    if one is not None and other is not None:
        n = one.n + other.n
        both = np.array(one.confusion) + np.array(other.confusion)
        found["TEST2"] = one.model_copy(
            update={
                "part": "all",
                "label": "all",
                "n": n,
                "accuracy": (one.accuracy * one.n + other.accuracy * other.n) / n,
                "confusion": tuple(map(tuple, both.tolist())),
            }
        )
    order = ["TEST2 held-out", "TEST2 selection", "TEST2"]
    first = {name: found[name] for name in order if name in found}
    return {plain(name): row for name, row in {**first, **found}.items()}


def _optimism(after: dict[str, Scores]) -> list[str]:
    one, other = after.get("TEST2 selection"), after.get("TEST2 held-out")
    if one is None or other is None:
        return [] if one is None else ["These numbers have no held-out part of TEST2."]
    bounds = [wilson(row.accuracy, row.n) for row in (one, other)]
    value, low, high = difference_of(one.accuracy, bounds[0], other.accuracy, bounds[1])
    return [
        f"Optimism, the accuracy on the selection part minus that on the held-out part:"
        f" {points(value, (low, high))}."
    ]


def best_part(record: Record[Any]) -> tuple[Scores | None, Scores | None]:
    """TEST2's held-out part, else its selection part: the rows before and after fine-tuning."""
    after = _by_images(record, "after")
    found = after.get("TEST2 held-out", after.get("TEST2 selection"))
    if found is None:
        return None, None
    return _by_images(record, "before").get(f"{found.split} {found.part}"), found


def held_out_line(record: Record[Any]) -> str:
    """The accuracy to cite, with n, interval and what the images were used for."""
    _, found = best_part(record)
    if found is None:
        return "not recorded"
    bounds = interval(wilson(found.accuracy, found.n))
    return f"{percent(found.accuracy)} {bounds} of {found.n} images of TEST2, {plain(found.label)}"


def classes_of(record: Record[Any]) -> list[list[str]]:
    """Each class: its images, how many of them are right, and how many predictions are."""
    start, found = best_part(record)
    if found is None:
        return [["No confusion matrix is recorded."]]
    matrix = np.array(found.confusion)
    images, predicted, right = matrix.sum(1), matrix.sum(0), np.diagonal(matrix)
    earlier = None if start is None else np.array(start.confusion)
    rows = []
    for i, name in enumerate(record.classes):
        bounds = "-" if not images[i] else interval(wilson(right[i] / images[i], int(images[i])))
        rows.append(
            [
                plain(name),
                str(images[i]),
                "-" if earlier is None else _share(earlier[i, i], earlier[i].sum()),
                _share(right[i], images[i]),
                bounds,
                _share(right[i], predicted[i]),
            ]
        )
    header = ["class", "images", "right before", "right", "95 % interval", "right of predicted"]
    part = f"TEST2, {plain(found.part)} part ({plain(found.label)})."
    return [
        [
            f'{part} "Right" is the share of a class that gets it; "right of predicted" is the'
            " share of the images that get a class which are of it."
        ],
        table(header, rows, 1),
    ]


def _share(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "-"


def confusion(record: Record[Any]) -> list[list[str]]:
    """The confusion matrix after fine-tuning; of many classes its largest errors."""
    _, found = best_part(record)
    if found is None:
        return []
    matrix, names = np.array(found.confusion), [plain(name) for name in record.classes]
    if len(names) <= MAX_CLASSES:
        rows = [
            [name, *(f"**{n}**" if i == j else str(n) for j, n in enumerate(line))]
            for i, (name, line) in enumerate(zip(names, matrix, strict=True))
        ]
        return [
            ["Rows are the true classes, columns the predicted ones."],
            table(["", *names], rows, 1),
        ]
    rows = _confusions(matrix, names)
    return (
        [["The most frequent errors:"], table(["true", "predicted", "images"], rows, 2)]
        if rows
        else []
    )


def _confusions(matrix: NDArray[Any], names: Sequence[str]) -> list[list[str]]:
    errors = matrix.copy()
    np.fill_diagonal(errors, 0)
    places = np.argsort(-errors, axis=None, kind="stable")[:MAX_CONFUSIONS]
    return [
        [names[i], names[j], str(errors[i, j])]
        for i, j in (divmod(int(place), len(names)) for place in places)
        if errors[i, j]
    ]


def calibration(record: Record[Any], facts: Facts) -> list[list[str]]:
    """The temperature, and the expected calibration error without and with it."""
    rows = [
        [f"TEST2 {plain(part)}", percent(found.before), percent(found.after)]
        for part, found in facts.calibration_error.items()
    ]
    line = (
        f"The temperature is {record.temperature:.3g}, fitted on TEST2's selection part. Each"
        " form of the model applies it. It changes no predicted class."
    )
    if record.temperature == 1:
        line = "The probabilities have no temperature."
    header = ["expected calibration error", "without temperature", "with it"]
    return [[line], table(header, rows, 1) if rows else []]
