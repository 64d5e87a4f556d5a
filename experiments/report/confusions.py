"""The figures of `result.json`'s confusion matrices, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shiftsearch.experiments.outcome.results import STAGES
from shiftsearch.experiments.report.figures.accuracy import confusion_matrix
from shiftsearch.experiments.report.figures.change import class_changes


def confusion_matrices(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Per configuration its `name` and its matrices `before` and `after` fine-tuning."""
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
    """Per configuration its `name` and a `figure` of how its classes changed."""
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
    """Beside the configurations stand `split` and `part`, which are text."""
    for name, matrices in result["confusion"].items():
        if isinstance(matrices, Mapping):
            yield name, matrices
