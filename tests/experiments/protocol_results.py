"""Protocol results and jobs as the search makes them, for the tests of this floor."""

from __future__ import annotations

from typing import Any

from model.hyperparameters import Hyperparameters
from search.jobs import Job
from search.study import TrialRecord

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


def protocol_result(before: float, after: float) -> dict[str, Any]:
    """TEST2 accuracies before and after; TEST's are 0.56 and 0.97."""

    def stage(test: float, test2: float, epochs: int) -> dict[str, Any]:
        return {"epochs": epochs, "test": {"accuracy": test}, "test2": {"accuracy": test2}}

    return {
        "test2_accuracy": after,
        "baseline": stage(0.56, before, 9),
        "fine_tune": stage(0.97, after, 12),
    }


def complete(number: int, after: float, role: str = "sampled", **values: float) -> TrialRecord:
    configuration = Hyperparameters().to_flat() | values
    result = protocol_result(0.17, after)
    return TrialRecord(number, "complete", role, after, configuration, result, "", 27.5)


def failed(number: int, reason: str) -> TrialRecord:
    configuration = Hyperparameters().to_flat()
    return TrialRecord(number, "fail", "sampled", None, configuration, None, reason, 3.0)


def waiting(number: int) -> TrialRecord:
    return TrialRecord(number, "waiting", "sampled", None, {}, None, "", None)
