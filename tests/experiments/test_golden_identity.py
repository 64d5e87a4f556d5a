"""What a stored run is compared with when it is continued; another value refuses the run."""

from __future__ import annotations

import pytest
import yaml

from shiftsearch.experiments.definition import build, load
from shiftsearch.experiments.outcome.trainings import training_key
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.store import content_key
from shiftsearch.search.proposing.space import REFERENCE

pytestmark = pytest.mark.unit

RICH = """
seed: 7
dtype: bfloat16
protocol: {baseline: {max_epochs: 9}, fine_tune_on: TRAIN+TEST, holdout: 0.25, division_seed: 1}
space:
  baseline: {batch_size: {choices: [32, 64]}, label_smoothing: 0.1, augmentation: {noise: 0.02}}
  fine_tune:
    learning_rate: {low: 0.0001, high: 0.003, log: true}
    dropout: {low: 0.2, high: 0.6, step: 0.1}
    frozen_layers: {low: 0, high: 3}
"""


def test_the_identity_of_stored_runs_stays() -> None:
    experiments = [build({}, "tests"), build(yaml.safe_load(RICH), "tests")]
    experiments += [load(name) for name in ("demo", "digits6", "full", "reference")]
    identities = [e.identity("0" * 32) for e in experiments]
    # Trials of the first version ignored it, so the identity of such a run must differ in this.
    told = identities[1]["protocol.fine_tune_on"]
    assert told != "TRAIN+TEST"
    identities[1]["protocol.fine_tune_on"] = "TRAIN+TEST"
    assert [content_key(identity) for identity in identities] == [
        "b55c13012de6376fe6b9f9a55187e721",
        "12302303af8b02500409e39595b1e225",
        "145a1af9e59833f5773371d9683b043b",
        "b68c61d05c09fa439b8c99c9c1c46dc4",
        "104eec363a6cfd9d4677d70ac7fd07bc",
        "d0993cf706d40beaf0c081caa127d5f8",
    ]
    assert [content_key(e.search_space().describe()) for e in experiments] == [
        "87418dbad5bc9433b0b709e3fb3d91b9",
        "d2384993e6ce9f37902f5ebe5ec933c6",
        "0c3ad53ca1f991232ffcd2925e191ca0",
        "78960ade59173e90cbad90d607c75f10",
        "e4760768ea748c6d9a5d1052c8f8e8ce",
        "87418dbad5bc9433b0b709e3fb3d91b9",
    ]


def test_only_another_objective_than_accuracy_is_in_the_identity() -> None:
    neutral, other = (
        build(raw, "tests").identity("0" * 32) for raw in ({}, {"objective": "balanced_accuracy"})
    )
    assert other == neutral | {"objective": "balanced_accuracy"}
    assert build({"objective": "accuracy"}, "tests").identity("0" * 32) == neutral


def test_what_was_retrained_is_found_again() -> None:
    configuration = dict(REFERENCE) | {"fine_tune.frozen_layers": 3}
    both = dict(REFERENCE) | {"fine_tune.train_on": "TRAIN+TEST"}
    for on, of, replicate, key in (
        ("TEST", REFERENCE, 1, "22ee6ade164e87b7d2750d5b816168ff"),
        ("TEST", both, 1, "9ca10fd929bce540c9b56857d6713c6d"),
        ("TRAIN+TEST", REFERENCE, 1, "9ca10fd929bce540c9b56857d6713c6d"),
        ("TEST", configuration, 2, "b82245f4c6aec63375d5bea5298e144c"),
    ):
        assert training_key(of, replicate, Protocol.model_validate({"fine_tune_on": on})) == key
