"""Rules of export, on networks that predict one class each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.export_settings import AUTO, MODELS
from shiftsearch.experiments.outcome import choice
from shiftsearch.experiments.outcome.blends import Blend, Model, Predictor
from shiftsearch.experiments.outcome.choice import RULES, Candidates, choose
from shiftsearch.experiments.outcome.results import parts_of
from shiftsearch.experiments.outcome.trained import Trained, trained_models
from shiftsearch.model.device import Device
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.objective import ACCURACY
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import open_store
from tests.experiments.protocol_results import complete
from tests.experiments.stored_networks import always, retrained

pytestmark = pytest.mark.unit

A, B, C = (always(label, 6, (28, 28)) for label in range(3))


@pytest.fixture
def predictor(tiny_dataset: Dataset, tmp_path: Path) -> Predictor:
    device = Device("cpu", "float32", 1, "tests")
    parts = parts_of(tiny_dataset, Protocol(), device)
    return Predictor(open_store(tmp_path), tiny_dataset, parts, device, ACCURACY)


def test_a_network_is_scored_on_the_selection_part_itself_though_trials_are_cross_fitted(
    tiny_dataset: Dataset, predictor: Predictor
) -> None:
    parts = parts_of(tiny_dataset, Protocol(folds=2), predictor.device)
    found = Predictor(predictor.store, tiny_dataset, parts, predictor.device, ACCURACY)
    assert parts[1].label("after") == "out of fold"
    assert [p.label("after") for p in found.parts] == ["trained on", "selected on", "held out"]


@pytest.fixture
def trained(predictor: Predictor) -> list[Trained]:
    """Two fine-tunes of one baseline, A and B, and one of another, C."""
    found = retrained(predictor.store, {1: (C, A), 2: (C, B), 3: (A, C)})
    one, two, three = trained_models([], [found], predictor.store)
    shared = ProtocolResult(one.result.baseline, two.result.fine_tune)
    return [one, replace(two, result=shared), three]


def test_every_rule_can_be_asked_for() -> None:
    assert {*RULES, "auto", "replicate"} == set(MODELS)
    assert AUTO in RULES


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ({}, AUTO),
        ({"export": {"model": "soup"}}, "soup"),
        ({"objectives": ["test2_accuracy", "parameters"]}, "single"),
        ({"constraints": {"max_latency_ms": 5.0}}, "single"),
        ({"constraints": {"max_latency_ms": 5.0}, "export": {"model": "ensemble"}}, "ensemble"),
    ],
)
def test_an_ensemble_is_no_default_where_the_costs_of_a_network_matter(
    written: dict[str, Any], rule: str
) -> None:
    assert build(written, "tests").export_rule == rule


def test_trainings_are_ranked_by_accuracy_then_loss_and_need_their_weights(
    predictor: Predictor,
) -> None:
    found = retrained(predictor.store, {1: (C, A), 2: (C, B), 3: (A, C)})
    results = dict(found.results)
    for replicate, accuracy, loss in ((1, 0.8, 0.6), (2, 0.8, 0.5), (3, 0.9, 0.9)):
        fine_tune = results[replicate].fine_tune
        test2 = replace(fine_tune.test2, accuracy=accuracy, loss=loss)
        results[replicate] = replace(results[replicate], fine_tune=replace(fine_tune, test2=test2))
    own = replace(found, results=results)
    lost = complete(7, 0.99)  # not in the store
    ranked = trained_models([lost], [own], predictor.store)
    assert [t.replicate for t in ranked] == [3, 2, 1]
    assert [t.replicate for t in trained_models([lost], [own], predictor.store, 1)] == [3]
    assert trained_models([], [replace(own, competes=False)], predictor.store) == []


def test_weights_of_different_baselines_are_never_averaged(trained: list[Trained]) -> None:
    assert Blend((trained[0], trained[1])).of == tuple(trained[:2])
    with pytest.raises(ValueError, match="one baseline"):
        Blend((trained[0], trained[2]))


def test_a_blend_s_weights_are_the_mean_with_its_baseline_s_share(
    predictor: Predictor, trained: list[Trained]
) -> None:
    mean = (A["head.bias"].double() + B["head.bias"].double()) / 2
    found = predictor.weights(Blend((trained[0], trained[1])))["head.bias"]
    assert torch.allclose(found.double(), mean)
    part = predictor.weights(Blend((trained[0],), 0.75))["head.bias"]
    assert torch.allclose(part, 0.75 * A["head.bias"] + 0.25 * C["head.bias"])


def test_a_soup_s_batch_statistics_are_those_of_test_under_its_mean_weights(
    predictor: Predictor,
) -> None:
    """By hand in the first layer, whose input does not depend on other statistics."""
    start, one, two = (random_weights(seed, 6, (28, 28)) for seed in range(3))
    found = retrained(predictor.store, {1: (start, one), 2: (start, two)})
    first, second = trained_models([], [found], predictor.store)
    of = (
        first,
        replace(second, result=ProtocolResult(first.result.baseline, second.result.fine_tune)),
    )
    plain, blend = predictor.weights(Blend(of)), Blend(of, re_estimated=True)
    state = predictor.weights(blend)
    changed = {name for name in plain if not torch.equal(plain[name], state[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {name for name in plain if name.endswith(statistics)}
    layer = "layers.0"
    convolved = torch.nn.functional.conv2d(
        predictor.parts[0].images.float() / 255, state[f"{layer}.convolution.weight"], padding=1
    )
    for name, expected in (
        ("mean", convolved.mean((0, 2, 3))),
        ("var", convolved.var((0, 2, 3))),
    ):
        torch.testing.assert_close(
            state[f"{layer}.normalisation.running_{name}"], expected, rtol=1e-3, atol=1e-5
        )
    assert predictor.build(state, blend).training is False


def test_predictions_on_the_selection_part_are_kept_in_the_store(
    predictor: Predictor, trained: list[Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    blend = Blend((trained[0],))
    first = predictor.selection(blend)
    assert first.argmax(1).tolist() == [0] * len(predictor.labels)
    again = Predictor(
        predictor.store, predictor.dataset, predictor.parts, predictor.device, ACCURACY
    )
    monkeypatch.setattr(Predictor, "on", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(again.selection(blend), first)


def test_a_combination_that_does_not_beat_a_single_model_is_not_taken(
    predictor: Predictor, trained: list[Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = Candidates(trained, predictor, 5)
    # Every network is right on the images of its class, a sixth: no mean of two is better.
    for rule in ("soup", "interpolation", "ensemble"):
        found = choose(rule, candidates)
        assert found.model.kind == "single"
        assert found.reason
    assert choose("soup", candidates).barrier == pytest.approx(0)
    assert choose("single", candidates).to_json()["kind"] == "single"


def test_a_combination_that_is_right_on_all_halves_is_taken(
    predictor: Predictor, trained: list[Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.eye(6, dtype=np.float32)[predictor.labels.numpy()]
    pair = Model("ensemble", tuple(Blend((t,)) for t in trained[:2]), (0.5, 0.5))
    monkeypatch.setattr(choice, "RULES", {"ensemble": lambda *_: pair})
    original = Predictor.mean
    monkeypatch.setattr(
        Predictor, "mean", lambda self, m: truth if m is pair else original(self, m)
    )
    found = choose("ensemble", Candidates(trained, predictor, 5))
    assert found.model is pair
    assert found.checked["rule"] == 1
    assert found.checked["single"] <= 1 / 6 + 1e-9
