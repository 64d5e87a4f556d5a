"""The example of a web service answers as the bundle does."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import save_untrained
from shiftsearch.model.export import rewrite
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.parity import made_formats, made_images, written
from tests.model.test_formats import CPU

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="torch's exporters take seconds to import"),
]

APP = Path(__file__).parents[2] / "experiments" / "examples" / "serve" / "app.py"


def test_the_service_answers_as_the_bundle_does(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    testclient = pytest.importorskip("fastapi.testclient", reason="fastapi is not installed")
    folder = save_untrained(tmp_path / "best", small_dataset)
    images = np.array(small_dataset.splits["TEST"].images[:5])
    bundle = load_bundle(folder)
    files, parities = written(made_formats(bundle, ["onnx"], made_images(bundle)))
    rewrite(folder, folder, files, {"formats": parities})
    monkeypatch.setenv("MODEL", str(folder / "model.onnx"))
    spec = importlib.util.spec_from_file_location("app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = testclient.TestClient(module.app)
    bundle = load_bundle(folder)
    for image, expected in zip(images, bundle.predict_proba(images, CPU), strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        found = client.post("/predict", content=file.getvalue()).json()
        assert found["class"] == bundle.record.classes[expected.argmax()]
        assert list(found["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
    assert client.post("/predict", content=b"nonsense").status_code == 422
    file = io.BytesIO()
    Image.new("L", (3, 5)).save(file, "png")
    assert client.post("/predict", content=file.getvalue()).status_code == 422
