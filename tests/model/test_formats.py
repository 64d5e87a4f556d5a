"""Formats of a bundle: equal to the PyTorch model, or not written."""

from __future__ import annotations

import json
import subprocess
import venv
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import save_untrained
from shiftsearch.model import parity
from shiftsearch.model.device import Device
from shiftsearch.model.export import rewrite
from shiftsearch.model.formats import FORMATS
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.parity import (
    PER_CLASS,
    made_formats,
    made_images,
    raw_images,
    real_images,
    written,
)

SLOW = "torch's exporters take seconds to import, and seconds for each model"
pytestmark = [pytest.mark.unit, pytest.mark.slow(reason=SLOW)]

CPU = Device("cpu", "float32", 1, "test")
STEPS = {
    "preprocessing.polarity": "bright_on_dark",
    "preprocessing.centre": "mass",
    "preprocessing.intensity": "equalise",
}
RUN_ONNX = """
import importlib.util, json, sys
assert not any(map(importlib.util.find_spec, ("torch", "shiftsearch", "onnx")))
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
numpy.save(sys.argv[3], session.run(["probabilities"], {"images": numpy.load(sys.argv[2])})[0])
assert session.get_inputs()[0].shape[0] == session.get_outputs()[0].shape[0] == "N"
print(json.dumps(session.get_modelmeta().custom_metadata_map))
"""


def environment(folder: Path, package: str) -> Path:
    """The Python of a new environment that holds a package and what it requires, as links."""
    venv.create(folder, symlinks=True)
    (place,) = folder.glob("lib/python*/site-packages")
    left, done = [package], set()
    while left:
        name = left.pop()
        done.add(name)
        for file in metadata.files(name) or ():
            top = file.parts[0]
            if top != ".." and not (place / top).exists():
                (place / top).symlink_to(metadata.distribution(name).locate_file(top))
        for line in metadata.requires(name) or ():
            wanted = Requirement(line)
            is_wanted = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
            if is_wanted and wanted.name not in done:
                left.append(wanted.name)
    return folder / "bin" / "python"


def test_formats_give_the_probabilities_of_the_bundle(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    folder = save_untrained(tmp_path / "best", small_dataset, STEPS)
    test = small_dataset.splits["TEST"]
    raw = raw_images(test.images, "uint8")
    bundle = load_bundle(folder)
    checks = real_images(test.images, test.labels, "uint8")
    outcomes = made_formats(bundle, list(FORMATS), checks)
    files, parities = written(outcomes)
    assert {name: parity["images"] for name, parity in parities.items()} == dict.fromkeys(
        FORMATS, 3 * PER_CLASS
    ), outcomes
    rewrite(folder, folder, files, {"formats": parities})
    bundle = load_bundle(folder)
    assert bundle.record.model == {"formats": parities}
    assert {kind.file for kind in FORMATS.values()} < bundle.record.checksums.keys()
    expected = bundle.predict_proba(raw, CPU)
    for name, kind in FORMATS.items():
        content = (folder / kind.file).read_bytes()
        for count in (1, 7, len(raw)):
            found = kind.run(content, raw[:count])
            np.testing.assert_allclose(found, expected[:count], rtol=0, atol=1e-5, err_msg=name)
    # In an environment that has no torch, as another program runs it.
    np.save(tmp_path / "images.npy", raw)
    places = (str(folder / "model.onnx"), str(tmp_path / "images.npy"), str(tmp_path / "p.npy"))
    done = subprocess.run(
        [environment(tmp_path / "environment", "onnxruntime"), "-I", "-c", RUN_ONNX, *places],
        capture_output=True,
        text=True,
        check=True,
    )
    np.testing.assert_allclose(np.load(places[2]), expected, rtol=0, atol=1e-5)
    about = json.loads(done.stdout)
    assert json.loads(about["classes"]) == list(small_dataset.classes)
    assert about["scale"] == "uint8"


def test_a_format_that_differs_is_not_used(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(save_untrained(tmp_path / "best", small_dataset))
    pt2 = FORMATS["pt2"]
    wrong = replace(pt2, run=lambda c, i: pt2.run(c, i) + np.float32(2e-4))
    fails = replace(pt2, make=lambda *_: pt2.make(None, None, {}))  # type: ignore[arg-type]
    absent = replace(pt2, packages=("no_such_package",))
    table = {"a": wrong, "b": fails, "c": absent}
    monkeypatch.setattr(parity, "FORMATS", table)
    monkeypatch.setattr("shiftsearch.model.formats.FORMATS", table)
    outcomes = made_formats(bundle, ["a", "b", "c"], made_images(bundle))
    assert written(outcomes) == ({}, {})
    assert "differs" in outcomes[0].line
    assert "no_such_package is not installed" in outcomes[2].line
    assert all("\n" not in outcome.line for outcome in outcomes)


@pytest.mark.parametrize("scale", ["uint8", "float 0..1", "float 0..255"])
def test_images_are_given_on_the_scale_of_the_model(scale: str) -> None:
    pixels = np.array([[[0, 51, 255]]], np.uint8)
    white = {"uint8": 255, "float 0..1": 1, "float 0..255": 255}[scale]
    for images in (pixels, np.float32(pixels) / np.float32(255)):
        found = raw_images(images, scale)
        assert found.dtype == (np.uint8 if scale == "uint8" else np.float32)
        np.testing.assert_allclose(found[0, 0] / white, [0, 0.2, 1], atol=1e-6)


def test_images_are_made_for_a_bundle_without_its_data(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    checks = made_images(load_bundle(save_untrained(tmp_path / "best", small_dataset)))
    assert (checks.images.shape, checks.images.dtype) == ((3 * PER_CLASS, 16, 16), np.uint8)
    assert not checks.real
    assert len(np.unique(checks.images, axis=0)) == 3 * PER_CLASS
    assert checks.images.std((1, 2)).min() > 1
