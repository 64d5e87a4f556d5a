"""`outlook` compares what is comparable: finished replicates of one protocol."""

from __future__ import annotations

import json

import pytest

from shiftsearch.experiments.outcome.outlook import noise_between_seeds, outlook
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.model.hyperparameters import Hyperparameters
from tests.experiments.protocol_results import complete, failed, protocol_result

pytestmark = pytest.mark.unit


def candidate(
    number: int, *values: float, competes: bool = True, broken: bool = False
) -> Candidate:
    results = {i: protocol_result(0.2, value) for i, value in enumerate(values, 1)}
    failures = {len(values) + 1: "lost"} if broken else {}
    configuration = Hyperparameters().to_flat()
    return Candidate(number, configuration, 0.99, "TEST", results, failures, competes)


def test_what_failed_adds_to_the_noise_but_is_not_compared() -> None:
    candidates = [
        candidate(0, 0.90, 0.92),
        candidate(5, 0.94, 0.96),
        candidate(7, 0.95, 0.97),
        candidate(9, 0.96, 0.98, broken=True),
    ]
    trials = [*(complete(n, 0.9 + 0.01 * n) for n in range(7)), failed(7, "nan")]
    found = outlook(trials, candidates)
    assert found["noise"]["degrees"] == 4
    assert found["noise"]["sd"] == pytest.approx(0.02 / 2**0.5)
    assert found["indistinguishable"] == [5]
    assert found["expected_gain"]["more"] == 20
    assert 0 < found["expected_gain"]["gain"] < 0.04
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_another_reading_of_the_protocol_is_neither_noise_nor_compared() -> None:
    own = [candidate(0, 0.90, 0.92), candidate(5, 0.94, 0.96)]
    other = candidate(0, 0.70, 0.99, competes=False)
    assert outlook([], [*own, other]) == outlook([], own)
    noise = noise_between_seeds([*own, other])
    assert noise is not None
    assert (noise.sd, noise.degrees) == (pytest.approx(0.02 / 2**0.5), 2)


def test_one_replicate_and_few_trials_say_nothing() -> None:
    found = outlook([complete(0, 0.9)], [candidate(0, 0.9), candidate(5, 0.9)])
    assert found == {"noise": None, "expected_gain": None, "indistinguishable": []}
