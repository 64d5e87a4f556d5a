"""Cross-fitting: each image is scored by a fine-tune that did not see it; nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median_high
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import shiftsearch.model.training
from shiftsearch.data.dataset import Dataset, Split
from shiftsearch.data.folds import divide_into_folds
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import evaluate, predict, summarise
from shiftsearch.model.folds import cross_fitted, fold_stage, stored_out_of_fold
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.prepared import ProtocolData, division_of, prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.report import ProtocolReport, StageReport, stored_confusions
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import Store, open_store

pytestmark = pytest.mark.unit

SCHEDULE = Schedule(max_epochs=2, patience=2, reduce_after=1)
SIMPLE = Protocol(baseline=SCHEDULE, fine_tune=SCHEDULE)
FOLDED = SIMPLE.model_copy(update={"folds": 3})
CONFIGURATION = Hyperparameters.from_flat(
    {"baseline.batch_size": 16, "fine_tune.batch_size": 16, "fine_tune.learning_rate": 1e-3}
)


@pytest.fixture
def start(small_dataset: Dataset, device: Device, store: Store) -> Callable[..., ProtocolRun]:
    """A run on the small dataset, whose selection part has 15 images."""

    def start(
        protocol: Protocol = FOLDED, dataset: Dataset = small_dataset, **changes: Any
    ) -> Any:
        arguments = {"store": store, "seed": 3, **changes}
        data = prepare(dataset, protocol, device)
        return ProtocolRun(CONFIGURATION, data, protocol, device=device, **arguments)

    return start


def keys(report: StageReport) -> list[str]:
    return [result.key for result in report.folds]


def numbers(report: ProtocolReport) -> Any:
    """All that does not measure time."""
    values = report.result.to_json()
    for stage in ("baseline", "fine_tune"):
        del values[stage]["seconds"]
    states = [
        {k: t.numpy().tobytes() for k, t in r.weights.items()} for r in report.fine_tune.folds
    ]
    return values, keys(report.fine_tune), states


def test_each_image_is_scored_by_the_fine_tune_that_the_other_folds_validated(
    start: Callable[..., ProtocolRun], store: Store, small_dataset: Dataset
) -> None:
    run = start()
    report = run_protocol(run).fine_tune
    selection, folds = run.data.selection, run.data.folds
    part = small_dataset.splits["TEST2"].take(division_of(small_dataset, FOLDED).selection)
    assert sorted(np.concatenate([fold.positions for fold in folds])) == list(range(15))
    expected = torch.zeros(15, 3)
    for fold, result in zip(folds, report.folds, strict=True):
        others = np.setdiff1d(np.arange(15), fold.positions)
        assert fold.others.digest == part.take(others).digest()
        assert torch.equal(fold.others.images, selection.images[others])
        assert torch.equal(fold.others.labels, selection.labels[others])
        images = selection.images[fold.positions]
        expected[fold.positions] = predict(run.network(result), images)
    assert report.test2 == summarise(expected, selection.labels)
    assert report.test2.n == 15
    stored = stored_out_of_fold(store, report.summary)
    assert stored is not None
    assert torch.equal(stored, expected)
    assert report.test == evaluate(run.network(report.result), *_images(run.data))
    found = stored_confusions(store, report.summary)
    assert found is not None
    assert tuple(map(tuple, found["test2"])) == report.test2.confusion


def _images(data: ProtocolData) -> tuple[torch.Tensor, torch.Tensor]:
    return data.test.images, data.test.labels


def test_a_fold_s_fine_tune_does_not_depend_on_its_images(
    start: Callable[..., ProtocolRun], small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    division = division_of(small_dataset, FOLDED)
    test2 = small_dataset.splits["TEST2"]
    folds = divide_into_folds(test2.take(division.selection), 3, 0)
    monkeypatch.setattr("shiftsearch.model.prepared.divide", lambda *_: division)
    monkeypatch.setattr("shiftsearch.model.prepared.divide_into_folds", lambda *_: folds)
    clean = run_protocol(start()).fine_tune
    labels = test2.labels.copy()
    labels[division.selection[folds[1]]] = 0
    poisoned = Dataset(
        small_dataset.classes, {**small_dataset.splits, "TEST2": Split(test2.images, labels)}
    )
    found = run_protocol(start(dataset=poisoned)).fine_tune
    same = [a == b for a, b in zip(keys(clean), keys(found), strict=True)]
    assert same == [False, True, False]
    assert clean.test2.confusion != found.test2.confusion


def test_a_trial_costs_a_fine_tune_per_fold_and_a_model_one_more(
    start: Callable[..., ProtocolRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    original = shiftsearch.model.training.NetworkEngine.__init__

    def noted(self: Any, recipe: Any, *args: Any) -> None:
        trained.append(recipe.course.key)
        original(self, recipe, *args)

    monkeypatch.setattr(shiftsearch.model.training.NetworkEngine, "__init__", noted)
    trial = run_protocol(start())
    courses = [trial.baseline.result.course, *(r.course for r in trial.fine_tune.folds)]
    assert trained == courses
    assert len(set(courses)) == 4
    assert trial.fine_tune.result.key in keys(trial.fine_tune)
    assert trial.fine_tune.summary.seconds == sum(r.seconds for r in trial.fine_tune.folds)

    model = run_protocol(start(), with_model=True)
    assert trained[4:] == [model.fine_tune.result.course]
    assert keys(model.fine_tune) == keys(trial.fine_tune)
    assert model.fine_tune.test2 == trial.fine_tune.test2
    assert model.fine_tune.summary.seconds == pytest.approx(
        trial.fine_tune.summary.seconds + model.fine_tune.result.seconds
    )
    simple = run_protocol(start(SIMPLE))
    assert simple.fine_tune.result.key == model.fine_tune.result.key
    assert simple.baseline.result.key == trial.baseline.result.key
    assert len(trained) == 5


def test_what_is_stored_is_not_computed_again(
    start: Callable[..., ProtocolRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_protocol(start())

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("shiftsearch.model.training.NetworkEngine.__init__", never)
    monkeypatch.setattr("shiftsearch.model.folds.predict", never)
    monkeypatch.setattr("shiftsearch.model.folds.evaluate", never)
    assert numbers(run_protocol(start())) == numbers(first)


def test_a_trial_that_was_killed_in_a_fold_ends_with_the_same_bits(
    start: Callable[..., ProtocolRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run_protocol(start(store=open_store(tmp_path / "undisturbed")))
    computed = []
    original = shiftsearch.model.training.NetworkEngine.epoch

    def dying(self: Any, request: Any) -> Any:
        computed.append(request.number)
        if len(computed) == 6:  # the second fold's second epoch
            raise KeyboardInterrupt
        return original(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(shiftsearch.model.training.NetworkEngine, "epoch", dying)
        patch.setattr("shiftsearch.model.stage.SAVE_EVERY", 0.0)
        with pytest.raises(KeyboardInterrupt):
            run_protocol(start())
    seen = []
    run = start(on_epoch=lambda stage, row: seen.append((stage, row["epoch"])))
    assert numbers(run_protocol(run)) == numbers(undisturbed)
    stages = ["baseline", "fold_1", "fold_2", "fold_3"]
    assert seen == [(stage, epoch) for stage in stages for epoch in (1, 2)]


def test_a_rung_is_cross_fitted_too(start: Callable[..., ProtocolRun]) -> None:
    reports, stages = [], []
    run = start(on_epoch=lambda stage, _: stages.append(stage))
    final = run_protocol(run, {"rung_1": 1}, lambda *report: reports.append(report))
    ((epochs, baseline, fine_tune),) = reports
    assert (epochs, baseline.result.epochs, len(fine_tune.folds)) == (1, 1, 3)
    assert not set(keys(fine_tune)) & set(keys(final.fine_tune))
    each = [f"{of}fold_{number}" for of in ("rung_1_", "") for number in (1, 2, 3)]
    assert list(dict.fromkeys(stages)) == ["baseline", *each]


def test_folds_have_names_of_their_own_at_a_rung() -> None:
    assert fold_stage("fine_tune", 2) == "fold_2"
    assert fold_stage("rung_3", 2) == "rung_3_fold_2"


@pytest.mark.parametrize("best_epochs", [(5, 1, 3), (1, 2, 9), (4, 4, 4), (2, 7)])
def test_each_fold_has_its_own_fine_tune_and_the_median_stands_for_all(
    best_epochs: tuple[int, ...], start: Callable[..., ProtocolRun], store: Store
) -> None:
    """The fine-tune of the first fold says the first class for every image, and so on."""
    real = start(FOLDED.model_copy(update={"folds": len(best_epochs)}))
    first = real.baseline()
    sure = [{**first.weights, "head.bias": 1000 * torch.eye(3)[i]} for i in range(3)]
    made = [
        replace(first, course=f"{i:032}", best_epoch=epoch, weights=sure[i])
        for i, epoch in enumerate(best_epochs)
    ]
    waiting = list(made)

    def fine_tune(*_: object) -> StageResult:
        return waiting.pop(0)

    run: Any = SimpleNamespace(
        data=real.data, store=store, network=real.network, fine_tune=fine_tune
    )
    report = cross_fitted(run, first, "fine_tune", with_model=False)
    assert list(report.folds) == made
    assert report.result.best_epoch == median_high(best_epochs)
    assert report.result in made
    stored = stored_out_of_fold(store, report.summary)
    assert stored is not None
    for number, fold in enumerate(real.data.folds):
        assert (stored[fold.positions].argmax(1) == number).all()


def test_one_fold_is_no_cross_fitting(start: Callable[..., ProtocolRun]) -> None:
    one = SIMPLE.model_copy(update={"folds": 1})
    assert one.content() == SIMPLE.content()
    run = start(one)
    assert run.data.folds == ()
    assert run_protocol(run).fine_tune.folds == ()
