"""Stages of small sets that patience ended early are told of, with their numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shiftsearch.experiments.report.advice_on_updates import few_updates
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import complete, finished_run

pytestmark = pytest.mark.unit


def result_with(images: int, **schedule: Any) -> dict[str, Any]:
    """`images` in TEST, 4,800 in TRAIN; the fine-tune's schedule changed."""
    result, _ = finished_run()
    counts = result["dataset"]["counts"] | {"TEST": [images // 2, images - images // 2]}
    rules = result["protocol"] | {"fine_tune": result["protocol"]["fine_tune"] | schedule}
    return result | {"dataset": result["dataset"] | {"counts": counts}, "protocol": rules}


def ended_after(number: int, epochs: int, **values: Any) -> TrialRecord:
    trial = complete(number, 0.9, **values)
    assert trial.result is not None
    stage = replace(trial.result.fine_tune, epochs=epochs)
    return replace(trial, result=replace(trial.result, fine_tune=stage))


SHORT = [ended_after(0, 6), ended_after(1, 7), ended_after(2, 8), ended_after(3, 15)]


def test_stages_of_few_steps_are_named_with_their_numbers() -> None:
    """320 images in batches of 64: five steps; 20 epochs reach 100, then 4 of patience."""
    (said,) = few_updates(result_with(320), SHORT)
    assert "--set protocol.fine_tune.min_updates=100" in said
    assert "--set protocol.fine_tune.max_epochs=24" in said
    assert "3 of 4 fine-tunes" in said
    assert "(median 35)" in said
    assert said.endswith("only 5.")


@pytest.mark.parametrize(
    "result",
    [
        result_with(320, min_updates=100),  # is followed already
        result_with(320, max_epochs=6),  # were not ended by patience
        result_with(64 * 20),  # have 120 steps
    ],
)
def test_other_stages_are_not(result: dict[str, Any]) -> None:
    assert list(few_updates(result, SHORT)) == []


def test_neither_if_most_trials_were_longer_or_had_smaller_batches() -> None:
    assert list(few_updates(result_with(320), [*SHORT, *SHORT[3:] * 2])) == []
    smaller = [ended_after(n, 7, **{"fine_tune.batch_size": 16}) for n in range(4)]
    assert list(few_updates(result_with(320), smaller)) == []


def test_a_batch_filled_up_from_train_makes_more_steps() -> None:
    """Half of 64 images are TEST's, so an epoch of 320 has ten steps."""
    shared = [ended_after(n, 6 + n, **{"fine_tune.train_share": 0.5}) for n in range(4)]
    (said,) = few_updates(result_with(320), shared)
    assert said.endswith("only 10.")
