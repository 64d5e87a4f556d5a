"""The numbers of the model that is exported: its accuracies, its optimism and its calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from shiftsearch.experiments.outcome.blends import Blend, Predictor, Probabilities
from shiftsearch.experiments.outcome.choice import Choice
from shiftsearch.experiments.outcome.kept import weights_of
from shiftsearch.experiments.outcome.result_rows import TableRow
from shiftsearch.experiments.outcome.results import STAGES
from shiftsearch.experiments.outcome.statistics import difference_of, wilson
from shiftsearch.model.calibration import calibration_error, fitted_temperature, tempered
from shiftsearch.model.combining import mean_probabilities
from shiftsearch.model.evaluation import Evaluation, summarise

TITLE = "model"
"""Title of the exported model's rows in the table of `result.json`."""


@dataclass(frozen=True)
class Judged:
    """A chosen model, scored on every part.

    Attributes:
        choice: the model and how it was chosen.
        evaluations: by stage and index of the part; before fine-tuning those of the first
            member's baseline.
        temperature: fitted on the selection part.
        calibration: by part, the expected calibration error `before` and `after` the temperature.
    """

    choice: Choice
    evaluations: Mapping[tuple[str, int], Evaluation]
    temperature: float
    calibration: Mapping[str, Mapping[str, float]]


def judge(choice: Choice, predictor: Predictor) -> Judged:
    """Score the model on all parts, and fit its temperature on the selection part.

    The caller has counted the looks at the held-out part.
    """
    model, parts = choice.model, predictor.parts
    networks = [predictor.build(predictor.weights(m), m) for m in model.members]
    start = Blend((model.first,))
    before = predictor.build(
        dict(weights_of(predictor.store, model.first.result, "baseline")), start
    )
    evaluations: dict[tuple[str, int], Evaluation] = {}
    found: list[Probabilities] = []
    for i, part in enumerate(parts):
        members = zip(networks, model.members, strict=True)
        each = [predictor.on(network, member, i) for network, member in members]
        found.append(mean_probabilities(each, model.shares))
        own = torch.from_numpy(predictor.on(before, start, i))
        evaluations["before", i] = summarise(own, part.labels)
        evaluations["after", i] = summarise(torch.from_numpy(found[i]), part.labels)
    labels = [part.labels.numpy() for part in parts]
    selection = predictor.SELECTION
    temperature = fitted_temperature(found[selection], labels[selection])
    calibration = {
        parts[i].name: {
            "before": calibration_error(found[i], labels[i]),
            "after": calibration_error(tempered(found[i], temperature), labels[i]),
        }
        for i in range(selection, len(parts))
    }
    return Judged(choice, evaluations, temperature, calibration)


def model_rows(judged: Judged, predictor: Predictor) -> list[TableRow]:
    """The model's rows in the table of `result.json`."""
    return [
        TableRow(
            configuration=TITLE,
            stage=stage,
            split=part.split,
            part=part.name,
            label=part.label(stage),
            n=(found := judged.evaluations[stage, i]).n,
            accuracy=found.accuracy,
            interval=list(wilson(found.accuracy, found.n)),
            replicates=[found.accuracy],
            loss=found.loss,
        )
        for stage in STAGES
        for i, part in enumerate(predictor.parts)
    ]


def bundle_rows(judged: Judged, predictor: Predictor) -> list[dict[str, Any]]:
    """The rows for the bundle, in the form of `model.bundle.Bundle.evaluate`."""
    return [
        {
            "stage": stage,
            "split": part.split,
            "part": part.name,
            "label": part.label(stage),
            **judged.evaluations[stage, i].to_json(),
        }
        for stage in STAGES
        for i, part in enumerate(predictor.parts)
    ]


def described(judged: Judged, predictor: Predictor) -> dict[str, Any]:
    """What `result.json` says about the model: how it was chosen, and its numbers on TEST2."""
    selection = predictor.SELECTION
    after = [judged.evaluations["after", i] for i in range(selection, len(predictor.parts))]
    names = ["selected on", "held out"][: len(after)]
    rows = [_row(name, e.accuracy, e.n) for name, e in zip(names, after, strict=True)]
    if len(after) > 1:
        n = sum(e.n for e in after)
        rows.append(_row("all", sum(e.accuracy * e.n for e in after) / n, n))
    return {
        **judged.choice.to_json(),
        "test2": rows,
        "optimism": optimism(rows[0], rows[1]) if len(after) > 1 else None,
        "temperature": judged.temperature,
        "calibration_error": {name: dict(each) for name, each in judged.calibration.items()},
    }


def _row(label: str, accuracy: float, n: int) -> dict[str, Any]:
    return {"label": label, "n": n, "accuracy": accuracy, "interval": list(wilson(accuracy, n))}


def optimism(selected: Mapping[str, Any], held_out: Mapping[str, Any]) -> dict[str, Any]:
    """Selected-on accuracy minus held-out accuracy, with its 95 % interval."""
    difference, low, high = difference_of(
        selected["accuracy"], selected["interval"], held_out["accuracy"], held_out["interval"]
    )
    return {"difference": difference, "interval": [low, high]}
