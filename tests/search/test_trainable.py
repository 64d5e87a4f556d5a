"""What travels to a worker and back: small text, paths, finite numbers."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from ray import cloudpickle, tune

from search import trainable
from search.jobs import Job
from search.space import REFERENCE
from search.trainable import WorkerContext, encode, run_job

pytestmark = pytest.mark.integration

CONTEXT = WorkerContext("/run/dataset", "0123", "/run/store", "{}", 7, 1.0, 0.25, "float32")
JOB = Job("retrain", 12, 3, dict(REFERENCE), "TRAIN+TEST")


def test_2_21g_nothing_but_paths_settings_and_numbers_travels() -> None:
    """2.21g: data caught in the trainable would travel with each of its pickles."""
    assert len(cloudpickle.dumps(run_job)) < 200
    config = encode(CONTEXT, JOB)
    assert sum(map(len, config.values())) < 2000
    assert all(isinstance(value, str) for value in config.values())  # Ray neither flattens these
    assert WorkerContext(**json.loads(config["context"])) == CONTEXT
    assert Job(**json.loads(config["job"])) == JOB
    assert set(asdict(CONTEXT)) == {
        *("pack", "digest", "store", "protocol", "seed", "cpus", "gpus", "dtype")
    }


def test_configurations_arrive_as_they_were_hashed() -> None:
    """Types too: a float 0.0 that arrived as 0 would have another key in the store."""
    arrived = Job(**json.loads(encode(CONTEXT, JOB)["job"]))
    assert json.dumps(dict(arrived.configuration)) == json.dumps(dict(REFERENCE))


def test_2_3_nothing_non_finite_leaves_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.3, 2.20e: the report raises, which fails the trial; no bare NaN reaches a file."""
    sent: list[Any] = []
    monkeypatch.setattr(tune, "report", sent.append)
    with pytest.raises(ValueError, match="Out of range float values"):
        trainable._report({"event": "result", "result": {"test2_accuracy": math.nan}})
    assert sent == []
    trainable._report({"event": "result", "result": {"test2_accuracy": 0.5}})
    assert list(sent[0]) == [trainable.REPORT]  # one flat key, which holds text
    assert json.loads(sent[0][trainable.REPORT])["result"] == {"test2_accuracy": 0.5}
