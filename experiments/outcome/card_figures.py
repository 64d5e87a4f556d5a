"""The figures of a model card, as files beside it."""

from __future__ import annotations

from typing import Any

from shiftsearch.experiments.outcome.card_numbers import best_part
from shiftsearch.model.bundle_format import Record

CHANGE, CONFUSION = "classes.svg", "confusion.svg"
MAX_CLASSES = 50
"""Most classes that have a line each."""


def figures(record: Record[Any]) -> dict[str, bytes]:
    """The figures that the bundle's numbers allow, by file name, as SVG.

    `CHANGE`: accuracy of each class before and after fine-tuning. `CONFUSION`: the confusion
    matrix after it. Both are of TEST2's held-out part, or of its selection part if there is none.
    """
    # Late: with Matplotlib, which only the end of a search needs.
    from shiftsearch.experiments.report.figures.accuracy import confusion_matrix
    from shiftsearch.experiments.report.figures.change import class_changes
    from shiftsearch.experiments.report.figures.style import as_file

    start, found = best_part(record)
    drawn: dict[str, bytes] = {}
    if found is None or not any(map(any, found.confusion)):
        return drawn
    images = f"TEST2, {found.part} part"
    if start is not None and len(record.classes) <= MAX_CLASSES:
        title = f"{images}, before to after fine-tuning"
        drawn[CHANGE] = as_file(
            class_changes(start.confusion, found.confusion, record.classes, title)
        )
    title = f"Confusion matrix on {images}, after fine-tuning"
    drawn[CONFUSION] = as_file(confusion_matrix(found.confusion, record.classes, title))
    return drawn
