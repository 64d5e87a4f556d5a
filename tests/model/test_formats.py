"""Formats of a bundle: equal to the PyTorch model, or not written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.dataset import Dataset
from shiftsearch.model import formats
from shiftsearch.model.device import Device
from shiftsearch.model.export import save_bundle
from shiftsearch.model.formats import FORMATS, add_formats, raw_images, some_of_each_class
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.loading import load_bundle
from tests.experiments.stored_networks import random_weights

SLOW = "torch's exporters take seconds to import, and seconds for each model"
pytestmark = [pytest.mark.unit, pytest.mark.slow(reason=SLOW)]

CPU = Device("cpu", "float32", 1, "test")
STEPS = {
    "preprocessing.polarity": "bright_on_dark",
    "preprocessing.centre": "mass",
    "preprocessing.intensity": "equalise",
}
RUN_ONNX = """
import sys
sys.modules["torch"] = sys.modules["shiftsearch"] = None
import json, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
numpy.save(sys.argv[3], session.run(["probabilities"], {"images": numpy.load(sys.argv[2])})[0])
print(json.dumps(session.get_modelmeta().custom_metadata_map))
"""


def made(folder: Path, dataset: Dataset, **values: str | bool) -> Path:
    weights = random_weights(1, len(dataset.classes), dataset.image_size)
    save_bundle(
        folder,
        weights=weights,
        baseline_weights=weights,
        dataset=dataset,
        hyperparameters=Hyperparameters.from_flat(dict(values)),
        protocol=Protocol(),
        metrics=[],
        versions={"torch": "2"},
        seed=0,
        number=0,
        replicate=0,
    )
    return folder


def test_formats_give_the_probabilities_of_the_bundle(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    folder = made(tmp_path / "best", small_dataset, **STEPS)
    test = small_dataset.splits["TEST"]
    chosen = some_of_each_class(test.labels)
    raw = raw_images(test.images, "uint8")
    outcomes = add_formats(folder, list(FORMATS), raw[chosen])
    assert [outcome.is_written for outcome in outcomes] == [True, True], outcomes
    bundle = load_bundle(folder)
    assert {kind.file for kind in FORMATS.values()} < bundle.record.checksums.keys()
    expected = bundle.predict_proba(raw, CPU)
    for name, kind in FORMATS.items():
        content = (folder / kind.file).read_bytes()
        for count in (1, 7, len(raw)):
            found = kind.run(content, raw[:count])
            np.testing.assert_allclose(found, expected[:count], rtol=0, atol=1e-5, err_msg=name)
    # In a process that has no torch, as another program runs it.
    np.save(tmp_path / "images.npy", raw)
    places = (str(folder / "model.onnx"), str(tmp_path / "images.npy"), str(tmp_path / "p.npy"))
    done = subprocess.run(
        [sys.executable, "-c", RUN_ONNX, *places], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(np.load(places[2]), expected, rtol=0, atol=1e-5)
    about = json.loads(done.stdout)
    assert json.loads(about["classes"]) == list(small_dataset.classes)
    assert about["scale"] == "uint8"


def test_a_format_that_differs_is_not_written(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "best", small_dataset)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    test = small_dataset.splits["TEST"]
    images = raw_images(test.images, "uint8")[some_of_each_class(test.labels)]
    pt2 = FORMATS["pt2"]
    wrong = replace(pt2, run=lambda c, i: pt2.run(c, i) + np.float32(2e-4))
    fails = replace(pt2, make=lambda *_: pt2.make(None, None, {}))  # type: ignore[arg-type]
    absent = replace(pt2, packages=("no_such_package",))
    monkeypatch.setattr(formats, "FORMATS", {"a": wrong, "b": fails, "c": absent})
    outcomes = add_formats(folder, ["a", "b", "c"], images)
    assert [outcome.is_written for outcome in outcomes] == [False] * 3
    assert "differs" in outcomes[0].line
    assert "no_such_package is not installed" in outcomes[2].line
    assert all("\n" not in outcome.line for outcome in outcomes)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("scale", ["uint8", "float 0..1", "float 0..255"])
def test_images_are_given_on_the_scale_of_the_model(scale: str) -> None:
    pixels = np.array([[[0, 51, 255]]], np.uint8)
    white = {"uint8": 255, "float 0..1": 1, "float 0..255": 255}[scale]
    for images in (pixels, np.float32(pixels) / np.float32(255)):
        found = raw_images(images, scale)
        assert found.dtype == (np.uint8 if scale == "uint8" else np.float32)
        np.testing.assert_allclose(found[0, 0] / white, [0, 0.2, 1], atol=1e-6)
