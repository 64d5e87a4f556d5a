"""A stage decides and stores; what computes its epochs may be anything that answers requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import shiftsearch.model.stage
from shiftsearch.model.course import Course
from shiftsearch.model.engine import ComputedEpoch, EpochRequest, TrialDiverged
from shiftsearch.model.hyperparameters import Schedule, StageHyperparameters
from shiftsearch.model.stage import drive, stage_steps
from shiftsearch.model.store import Store, open_store

pytestmark = pytest.mark.unit

LOSSES = [1.0, 0.6, 0.8, 0.9, 0.5, 0.4]
"""Validation losses: the rate is halved after epoch 3 and 4; patience 3 is never used up."""


def course(seed: int = 0) -> Course:
    schedule = Schedule(max_epochs=len(LOSSES), patience=3, reduce_after=1)
    return Course("baseline", StageHyperparameters(), schedule, "", "", 2, (8, 8), seed, 0)


class Fake:
    """An engine without a network: its whole state is the sum of the rates it was asked for."""

    updates = 5

    def __init__(self, losses: list[float] = LOSSES) -> None:
        self.losses, self.total = losses, torch.zeros(())
        self.requests: list[EpochRequest] = []

    def __call__(self, request: EpochRequest) -> ComputedEpoch:
        self.requests.append(request)
        if request.state is not None:
            self.total = request.state["total"]
        self.total = self.total + request.learning_rate

        def tensors() -> Mapping[str, Tensor]:
            return {"total": self.total.clone()}

        loss = self.losses[request.number - 1]
        return ComputedEpoch(
            0.1, 0.5, loss, 0.5, 1.0, 10.0, self.updates, {"device": "none"}, tensors, tensors
        )


def test_a_stage_asks_for_its_epochs_and_keeps_the_best(store: Store) -> None:
    engine = Fake()
    result = drive(stage_steps(course(), store), lambda: engine)
    assert [r.number for r in engine.requests] == [1, 2, 3, 4, 5, 6]
    rates = [r.learning_rate for r in engine.requests]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 2.5e-4, 2.5e-4])
    assert all(r.state is None for r in engine.requests)
    assert (result.epochs, result.best_epoch, result.finished) == (6, 6, True)
    assert result.weights["total"].item() == pytest.approx(sum(rates))
    assert [row["validation_loss"] for row in result.history] == LOSSES
    assert result.environment == {"device": "none"}


@pytest.mark.parametrize("until", [None, 2, 4])
def test_patience_is_not_counted_before_the_least_number_of_updates(
    store: Store, until: int | None
) -> None:
    """Of 5 updates in each epoch, 18 are there after the fourth; interrupted or not."""
    losses = [1.0] * 12
    rules = {"max_epochs": 12, "patience": 3, "reduce_after": 1}
    plain, held = (
        dataclasses.replace(course(), schedule=Schedule(**rules, min_updates=n)) for n in (0, 18)
    )
    assert plain.key != held.key
    if until is not None:
        drive(stage_steps(held, store, until=until), lambda: Fake(losses))
    ends = [drive(stage_steps(c, store), lambda: Fake(losses)) for c in (plain, held)]
    assert [(end.epochs, end.best_epoch) for end in ends] == [(4, 1), (6, 1)]
    rates = [row["learning_rate"] for row in ends[1].history]
    assert rates == pytest.approx([1e-3] * 4 + [5e-4, 2.5e-4])


def test_what_is_stored_is_not_asked_for(store: Store) -> None:
    first = drive(stage_steps(course(), store), Fake)
    again = drive(stage_steps(course(), store), lambda: pytest.fail("no engine is needed"))
    assert again.history == first.history


@pytest.mark.parametrize("until", [1, 3, 5])
def test_the_first_request_says_where_to_go_on(store: Store, until: int) -> None:
    drive(stage_steps(course(), store, until=until), Fake)
    engine = Fake()
    result = drive(stage_steps(course(), store), lambda: engine)
    assert [r.number for r in engine.requests] == list(range(until + 1, 7))
    assert [r.state is not None for r in engine.requests] == [True] + [False] * (5 - until)
    straight = drive(stage_steps(course(), open_store(f"{store.address}-straight")), Fake)
    assert result.weights["total"].item() == straight.weights["total"].item()
    assert result.history == straight.history


def test_one_engine_may_compute_many_stages_in_turns(store: Store) -> None:
    """As a fused one would: it collects requests, computes them together, answers them."""
    stages = {seed: stage_steps(course(seed), store) for seed in range(3)}
    engines = {seed: Fake([loss * (1 + seed) for loss in LOSSES]) for seed in stages}
    waiting, results = {seed: next(steps) for seed, steps in stages.items()}, {}
    while waiting:
        computed = {seed: engines[seed](request) for seed, request in waiting.items()}
        for seed, answer in computed.items():
            try:
                waiting[seed] = stages[seed].send(answer)
            except StopIteration as end:
                results[seed] = end.value
                del waiting[seed]
    for seed, result in results.items():
        alone = drive(
            stage_steps(course(seed), open_store(f"{store.address}-alone")),
            lambda seed=seed: Fake([loss * (1 + seed) for loss in LOSSES]),
        )
        assert result.key == alone.key
        assert result.history == alone.history


def test_a_stage_that_is_left_alone_goes_on_from_its_last_saved_epoch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shiftsearch.model.stage, "SAVE_EVERY", 0.0)
    engine, steps = Fake(), stage_steps(course(), store)
    request = next(steps)
    for _ in range(3):
        request = steps.send(engine(request))
    steps.close()
    assert next(stage_steps(course(), store)).number == 4


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_stage(store: Store, loss: float) -> None:
    with pytest.raises(TrialDiverged, match=f"baseline epoch 2: .* validation loss {loss}"):
        drive(stage_steps(course(), store), lambda: Fake([1.0, loss]))
    assert not list(store.entries())
