"""Preprocessing as a hyperparameter: its keys, its copies, and the same numbers when served."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import shiftsearch.model.prepared
from shiftsearch.data.dataset import Dataset, Split
from shiftsearch.data.preprocessing import CENTRES, INTENSITIES, POLARITIES, preprocess
from shiftsearch.model.course import preprocessed_digest
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import evaluate, predict
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import (
    Hyperparameters,
    PreprocessingHyperparameters,
    Protocol,
    Schedule,
)
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.predictions import Remarks, predictions
from shiftsearch.model.prepared import ProtocolData, prepare
from shiftsearch.model.protocol import ProtocolRun, build, run_protocol
from shiftsearch.model.report import ProtocolReport
from shiftsearch.model.store import Store

pytestmark = pytest.mark.unit

SHORT = Schedule(max_epochs=2)
PROTOCOL = Protocol(baseline=SHORT, fine_tune=SHORT)
OFF = PreprocessingHyperparameters()
STEPS = {"intensity": "standardise", "polarity": "bright_on_dark", "centre": "mass"}
ON = PreprocessingHyperparameters(**STEPS)
SMALL = {"baseline.batch_size": 16, "fine_tune.batch_size": 16}
CONFIGURATION = Hyperparameters.from_flat(
    {**SMALL, **{f"preprocessing.{name}": value for name, value in STEPS.items()}}
)


@pytest.fixture
def data(small_dataset: Dataset, device: Device) -> ProtocolData:
    return prepare(small_dataset, PROTOCOL, device)


def run(
    hyperparameters: Hyperparameters, data: ProtocolData, store: Store, device: Device
) -> ProtocolReport:
    return run_protocol(ProtocolRun(hyperparameters, data, PROTOCOL, store, device, seed=3))


def test_off_is_absent_and_on_is_named() -> None:
    assert Hyperparameters().content().keys() == {"baseline", "fine_tune"}
    named = CONFIGURATION.to_flat().items() - Hyperparameters().to_flat().items()
    assert {f"preprocessing.{k}" for k in STEPS} == {k for k, _ in named if k[:3] == "pre"}
    with pytest.raises(ValidationError):
        PreprocessingHyperparameters(intensity="bright_on_dark")


def test_every_preprocessing_has_a_key_of_its_own(small_dataset: Dataset) -> None:
    split = small_dataset.splits["TEST"]
    every = [
        PreprocessingHyperparameters(intensity=i, polarity=p, centre=c)
        for i, p, c in product(INTENSITIES, POLARITIES, CENTRES)
    ]
    digests = [preprocessed_digest(split, how) for how in every]
    assert digests[0] == split.digest()
    assert len(set(digests)) == len(every) == 16


def test_stages_are_keyed_by_it_and_start_from_the_same_draws(
    data: ProtocolData, store: Store, device: Device
) -> None:
    off, on = (
        run(h, data, store, device) for h in (Hyperparameters.from_flat(SMALL), CONFIGURATION)
    )
    assert off.baseline.result.course != on.baseline.result.course
    assert off.fine_tune.result.course != on.fine_tune.result.course
    assert (
        off.baseline.result.history[0]["train_loss"] != on.baseline.result.history[0]["train_loss"]
    )
    again = run(CONFIGURATION, data, store, device)
    assert again.result.to_json() == on.result.to_json()


def test_it_is_the_images_that_are_trained_on(
    data: ProtocolData, small_dataset: Dataset, device: Device
) -> None:
    changed = data.preprocessed(ON)
    splits = small_dataset.splits
    for found, split in ((changed.train, splits["TRAIN"]), (changed.test, splits["TEST"])):
        wanted = preprocess(split.images, **STEPS)
        assert wanted.dtype == np.float32
        assert torch.equal(found.images[:, 0], torch.from_numpy(wanted))
        assert torch.equal(found.labels, torch.from_numpy(np.array(split.labels)))
    together = changed.training_set(("TRAIN", "TEST"))
    assert torch.equal(together.images, torch.cat([changed.train.images, changed.test.images]))
    assert len(changed.selection.images) == len(data.selection.images) == 15


def test_data_that_is_preprocessed_already_is_taken_as_it_is(
    data: ProtocolData, store: Store, device: Device
) -> None:
    changed = data.preprocessed(ON)
    assert (data.preprocessing, changed.preprocessing) == (OFF, ON)
    one, other = (run(CONFIGURATION, given, store, device) for given in (data, changed))
    assert one.result.to_json() == other.result.to_json()
    other_data = replace(changed, selection=changed.test)
    found = run(CONFIGURATION, other_data, store, device).fine_tune
    assert found.test2 == found.test


def test_trials_that_share_it_pay_once_and_the_copies_are_bounded(
    small_dataset: Dataset, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = 4 * 16 * 16 * (2 * 41 + 2 * 30 + 15)
    monkeypatch.setattr(shiftsearch.model.prepared, "KEPT_BYTES", 2 * copy)
    data = prepare(small_dataset, PROTOCOL, device)
    one, two, three = (
        PreprocessingHyperparameters(intensity=name) for name in INTENSITIES if name != "none"
    )
    first = data.preprocessed(one)
    assert data.preprocessed(one) is first
    assert first.preprocessed(OFF) is data
    assert data.preprocessed(two) is data.preprocessed(two)
    assert data.preprocessed(one) is first
    data.preprocessed(three)
    data.preprocessed(two)
    assert data.preprocessed(OFF) is not data  # the copies are two, and this one is the oldest


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_bundle_serves_what_was_trained(
    small_dataset: Dataset, dtype: str, store: Store, device: Device, tmp_path: Path
) -> None:
    dataset = small_dataset if dtype == "uint8" else floats(small_dataset)
    data = prepare(dataset, PROTOCOL, device)
    result = run(CONFIGURATION, data, store, device)
    before, after = (stage.result.weights for stage in (result.baseline, result.fine_tune))
    folder = tmp_path / "best"
    save_bundle(
        folder, weights=after, baseline_weights=before, dataset=dataset,
        hyperparameters=CONFIGURATION, protocol=PROTOCOL, metrics=[], versions={}, seed=3,
        number=0, replicate=1,
    )  # fmt: skip
    bundle = load_bundle(folder)
    assert {k: getattr(bundle.record.preprocessing, k) for k in STEPS} == STEPS

    rows = {(r["stage"], r["split"], r["part"]): r for r in bundle.evaluate(dataset, device)}
    for stage, report in (("before", result.baseline), ("after", result.fine_tune)):
        for split, part, found in (
            ("TEST", "all", report.test),
            ("TEST2", "selection", report.test2),
        ):
            row = rows[stage, split, part]
            assert {k: row[k] for k in found.to_json()} == found.to_json()

    test = data.preprocessed(ON).test
    network = build(after, 3, (16, 16), device)
    trained = predict(network, test.images)
    served = bundle.predict_proba(np.array(dataset.splits["TEST"].images), device)
    np.testing.assert_array_equal(served, trained.numpy())
    stored = predict(network, data.test.images)
    assert not torch.allclose(stored, trained, atol=1e-3)

    files = [tmp_path / f"{i}.npy" for i in range(30)]
    for file, image in zip(files, dataset.splits["TEST"].images, strict=True):
        np.save(file, image)
    answers = [one.probabilities for one in predictions(bundle, files, device, Remarks())]
    np.testing.assert_array_equal(np.stack(answers), trained.numpy())
    assert evaluate(network, test.images, test.labels) == result.fine_tune.test


def floats(dataset: Dataset) -> Dataset:
    """The same images as float32 in 0..1."""
    splits = {
        name: Split((split.images / np.float32(255)).astype(np.float32), split.labels)
        for name, split in dataset.splits.items()
    }
    return Dataset(dataset.classes, splits)
