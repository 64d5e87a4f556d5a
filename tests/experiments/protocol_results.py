"""Protocol results and jobs as the search makes them, for the tests of this floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from shiftsearch.experiments.outcome.honest import judged
from shiftsearch.experiments.outcome.statistics import wilson
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.records import TrialRecord
from tests.made_results import made_stage

EPOCH = {
    "epoch": 1,
    "train_loss": 1.5,
    "train_accuracy": 0.5,
    "validation_loss": 1.25,
    "validation_accuracy": 0.625,
    "learning_rate": 1e-3,
    "seconds": 2.0,
    "images_per_second": 2900.0,
}


def job(number: int, replicate: int = 0) -> Job:
    phase = "retrain" if replicate else "search"
    return Job(phase, number, replicate, Hyperparameters().to_flat())


def protocol_result(before: float, after: float) -> ProtocolResult:
    """TEST2 accuracies before and after; TEST's are 0.56 and 0.97."""
    return ProtocolResult(
        made_stage(0.56, before, 9, 13.5), made_stage(0.97, after, 12, 18.0, "c1-0012")
    )


def complete(number: int, after: float, role: str = "sampled", **values: float) -> TrialRecord:
    configuration = Hyperparameters().to_flat() | values
    result = protocol_result(0.17, after)
    return TrialRecord(number, "complete", role, after, configuration, result, "", 27.5)


def failed(number: int, reason: str) -> TrialRecord:
    configuration = Hyperparameters().to_flat()
    return TrialRecord(number, "failed", "sampled", None, configuration, None, reason, 3.0)


def branch(number: int, after: float, root: int) -> TrialRecord:
    return replace(complete(number, after), branch_of=root)


def pruned(number: int, rungs: Mapping[int, float]) -> TrialRecord:
    last = max(rungs)
    reason = f"stopped at the rung of {last} epochs: {rungs[last]:.4f}"
    return replace(failed(number, reason), state="pruned", intermediate=rungs)


def waiting(number: int) -> TrialRecord:
    return TrialRecord(number, "waiting", "sampled", None, {}, None, "", None)


def row(
    configuration: str, stage: str, images: tuple[str, str, str, int], accuracy: float
) -> dict[str, Any]:
    """A row of `result.json`'s table; `images`: split, part, label, n."""
    split, part, label, n = images
    return {
        "configuration": configuration,
        "stage": stage,
        "split": split,
        "part": part,
        "label": label,
        "n": n,
        "accuracy": accuracy,
        "interval": list(wilson(accuracy, n)),
        "replicates": [accuracy - 0.01, accuracy, accuracy + 0.01],
        "loss": 0.5,
    }


def rows(configuration: str, before: float, after: float, held_out: int) -> list[dict[str, Any]]:
    """A configuration's part of the table, with `held_out` images of TEST2 held out."""
    found = [
        row(configuration, "before", ("TEST", "all", "selected on", 1083), 0.5650),
        row(configuration, "after", ("TEST", "all", "trained on", 1083), 0.9717),
    ]
    parts = [
        ("TEST2", "selection", "selected on", 541),
        ("TEST2", "held-out", "held out", held_out),
    ]
    for part in parts if held_out else parts[:1]:
        found += [row(configuration, "before", part, before)]
        found += [row(configuration, "after", part, after - (part[1] == "held-out") * 0.005)]
    return found


def numbers(title: str, after: float, held_out: int) -> dict[str, Any]:
    """A row of `result.json`'s numbers, with about these accuracies."""
    selection = np.arange(541) < round(541 * after)
    other = np.arange(held_out) < round(held_out * (after - 0.005)) if held_out else None
    return judged(title, 3, selection, other).to_json()


def learnt(train_accuracy: float | None) -> dict[str, Any]:
    """A configuration's part of `fit`."""
    updates = {"epochs": [9, 9, 9], "updates": [675, 675, 675]}
    stage = {**updates, "train_accuracy": train_accuracy, "validation_accuracy": 0.56}
    return {"baseline": stage, "fine_tune": stage}


def confusion(classes: int, right: int) -> list[list[int]]:
    """90 images of each class, `right` of them on the diagonal, the rest predicted as the next."""
    matrix = [[0] * classes for _ in range(classes)]
    for i in range(classes):
        matrix[i][i] = right
        matrix[i][(i + 1) % classes] += 90 - right
    return matrix


def finished_run(held_out: int = 542) -> tuple[dict[str, Any], list[TrialRecord]]:
    """`result.json` and the trials of a run with a winner, a point and failures."""
    better = {"fine_tune.frozen_layers": 0, "fine_tune.learning_rate": 0.00123456}
    trials = [
        complete(0, 0.8151, role="reference"),
        complete(1, 0.8706, role="point"),
        failed(2, "baseline epoch 3: training loss nan\n<script>alert(1)</script>"),
        *(complete(n, 0.75 + 0.013 * (n * 7 % 17)) for n in range(3, 17)),
        complete(17, 0.9722, **better),
        waiting(18),
    ]
    reference = Hyperparameters().to_flat()
    part = "held-out" if held_out else "selection"
    matrices = {"before": confusion(6, 25), "after": confusion(6, 84)}
    result = {
        "schema": 1,
        "name": "digits6",
        "status": "complete",
        "created": "2026-11-22T22:00:00+00:00",
        "command": "shiftsearch search digits6 --data <DIR>",
        "dataset": {
            "source": "digits6",
            "digest": "0123456789abcdef0123456789abcdef",
            "classes": list("012345"),
            "image_size": [28, 28],
            "counts": {"TRAIN": [800] * 6, "TEST": [180] * 6, "TEST2": [180] * 6},
            "appearance": {
                "splits": {
                    name: {"n": 500, "brightness": 0.2, "contrast": 0.25}
                    for name in ("TRAIN", "TEST", "TEST2")
                },
                "shifts": [
                    {"first": first, "second": "TEST2", "distance": 0.5, "rest": 0.4}
                    for first in ("TRAIN", "TEST")
                ],
            },
        },
        "division": {"holdout": 0.5, "seed": 0, "selection_n": 541, "held_out_n": held_out},
        "objective": "accuracy",
        "protocol": Protocol().model_dump(),
        "space": {name: repr(value) for name, value in reference.items()},
        "search": {
            "sampler": "tpe",
            "seed": 0,
            "asked": 17,
            "complete": 17,
            "pruned": 0,
            "refused": 0,
            "failed": 1,
            "trial_seconds": 610.2,
            "stopped": "",
            "best_number": 17,
            "best_value": 0.9722,
        },
        "retrain": {
            "top_k": 1,
            "replicates": 3,
            "budget": None,
            "candidates": [
                {
                    "role": "reference",
                    "number": 0,
                    "configuration": reference,
                    "fine_tune_on": "TRAIN+TEST",
                    "search_value": 0.8151,
                    "replicates": [0.81, 0.82],
                    "places": [],
                    "mean": None,
                    "failed": ["worker lost 4 times"],
                },
                {
                    "role": "winner",
                    "number": 17,
                    "configuration": reference | better,
                    "fine_tune_on": "TEST",
                    "search_value": 0.9722,
                    "replicates": [0.96, 0.97, 0.955],
                    "places": [],
                    "mean": 0.9617,
                    "failed": [],
                },
            ],
        },
        "places": [],
        "outlook": {
            "noise": {"sd": 0.0071, "degrees": 3, "interval": [0.004, 0.0265]},
            "expected_gain": {"more": 20, "gain": 0.0042, "interval": [0.0017, 0.0133]},
            "indistinguishable": [],
        },
        "winner": {"number": 17, "configuration": reference | better},
        "reference": {"number": 0, "configuration": reference},
        "table": rows("reference", 0.1735, 0.8185, held_out)
        + rows("winner", 0.21, 0.9617, held_out)
        + rows("model", 0.21, 0.9717, held_out),
        "model": {
            "rule": "ensemble",
            "kind": "single",
            "checked": {"rule": 0.968, "single": 0.97},
            "reason": "the ensemble did not beat the best single model on other images",
            "members": [{"share": 1.0, "trained": [{"number": 17, "replicate": 2}]}],
            "forward_passes": 1,
            "test2": [
                {"label": label, "n": 541, "accuracy": 0.97, "interval": [0.95, 0.98]}
                for label in ("selected on", "held out", "all")[: 3 if held_out else 1]
            ],
            "optimism": {"difference": 0.01, "interval": [-0.01, 0.03]} if held_out else None,
            "temperature": 1.25,
            "calibration_error": {
                name: {"before": 0.03, "after": 0.01}
                for name in ("selection", "held-out")[: 2 if held_out else 1]
            },
        },
        "fit": {title: learnt(0.97) for title in ("reference", "winner")},
        "numbers": [
            numbers("reference", 0.8185, held_out),
            numbers("winner", 0.9617, held_out),
        ],
        "comparison": {
            "part": part,
            "n": held_out or 541,
            "difference": 0.1432,
            "interval": [0.1119, 0.1744],
            "resamples": 10_000,
        },
        "confusion": {
            "reference": matrices,
            "winner": {**matrices, "after": confusion(6, 87)},
            "split": "TEST2",
            "part": "selection",
            "label": "selected on",
        },
        "exported": {"number": 17, "replicate": 2, "bundle": "best"},
        "analysis": None,
        "held_out_looks": [
            {"configuration": c, "replicate": r, "stage": s, "purpose": "final evaluation"}
            for c in ("reference", "winner")
            for r in (1, 2, 3)
            for s in ("before", "after")
        ]
        if held_out
        else [],
        "environment": {
            "device": "cpu",
            "dtype": "bfloat16",
            "threads": 1,
            "torch": "2.13.0",
            "reasons": ["cpu, because no GPU is present", "2 trials at once: 2 cores"],
            "versions": {
                "python": "3.11.7",
                "shiftsearch": "0.1.0",
                "torch": "2.13.0",
                "ray": "2.60.0",
                "optuna": "5.0.0",
                "numpy": "2.4.6",
            },
        },
        "warnings": ["4 images of TRAIN and 4 of TEST2 are identical: <seen> in the other"],
        "seconds": {"this_call": 433.0},
        "fingerprint": "fedcba9876543210fedcba9876543210",
    }
    return result, trials


def reference_only() -> tuple[dict[str, Any], list[TrialRecord]]:
    """`result.json` and the trial of the published protocol: nothing searched or held out."""
    result, trials = finished_run(held_out=0)
    result["table"] = rows("reference", 0.1735, 0.937, 0)
    result["winner"] = result["reference"]
    result["comparison"], result["warnings"] = None, []
    del result["confusion"]["winner"]
    del result["retrain"]["candidates"][1]
    result["outlook"] |= {"noise": None, "expected_gain": None}
    result["search"] |= {"asked": 1, "complete": 1, "failed": 0, "best_number": 0}
    return result, trials[:1]
