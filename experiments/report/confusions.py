"""Figures of the confusion matrices in `result.json`, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shiftsearch.experiments.outcome.results import STAGES
from shiftsearch.experiments.report.figures.accuracy import confusion_matrix
from shiftsearch.experiments.report.figures.change import class_changes


def confusion_matrices(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """For each configuration its `name` and figures `before` and `after` fine-tuning."""
    classes = result["dataset"]["classes"]
    return [
        {"name": name}
        | {
            when: confusion_matrix(
                matrices[when], classes, f"Confusion matrix of the {name}, {when} fine-tuning"
            )
            for when in STAGES
        }
        for name, matrices in _matrices(result)
    ]


def changes_of(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """For each configuration its `name` and a `figure` of the change of each class."""
    classes = result["dataset"]["classes"]
    return [
        {
            "name": name,
            "figure": class_changes(
                matrices["before"],
                matrices["after"],
                classes,
                f"The {name} on TEST2's selection part, before to after fine-tuning",
            ),
        }
        for name, matrices in _matrices(result)
    ]


def _matrices(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The configurations and their matrices, without the texts `split` and `part`."""
    for name, matrices in result["confusion"].items():
        if isinstance(matrices, Mapping):
            yield name, matrices
