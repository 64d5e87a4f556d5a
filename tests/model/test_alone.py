"""`load.py` of a bundle: the same probabilities, in a process that has no shiftsearch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import random_weights, save_untrained
from shiftsearch.model import alone
from shiftsearch.model.bundle_format import Origin
from shiftsearch.model.device import Device
from shiftsearch.model.export import Member
from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.loading import load_bundle

pytestmark = pytest.mark.unit

CPU = Device("cpu", "float32", 1, "test")
BLOCKS = {
    "network.name": "blocks",
    "network.depth": 4,
    "network.width": 0.25,
    "network.residual": True,
    "network.attention": "squeeze_excitation",
    "network.first_kernel": 5,
}
STEPS = {"preprocessing.polarity": "bright_on_dark", "preprocessing.intensity": "stretch"}
CODE = """
import sys
for name in ("shiftsearch", "numba", "pydantic"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import load, numpy, torch
images = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], load.load()(images).detach().numpy())
"""


@pytest.mark.parametrize(
    "values", [{}, BLOCKS, {**BLOCKS, **STEPS}], ids=["plain", "all", "steps"]
)
def test_every_architecture_is_built_alone(
    small_dataset: Dataset, tmp_path: Path, values: dict[str, Value]
) -> None:
    folder = save_untrained(tmp_path / "best", small_dataset, values)
    images = np.array(small_dataset.splits["TEST2"].images)
    found = alone.load(folder=str(folder))(torch.from_numpy(images)).detach().numpy()
    expected = load_bundle(folder).predict_proba(images, CPU)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_an_ensemble_has_its_shares_preprocessing_and_temperature(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    values = {**BLOCKS, **STEPS}
    weights = random_weights(2, 3, (16, 16), values)
    origin = Origin(seed=0, number=1, replicate=0)
    member = Member(weights, Hyperparameters.from_flat(values), 0.3, origin)
    folder = save_untrained(tmp_path / "best", small_dataset, further=[member], temperature=0.4)
    images = np.array(small_dataset.splits["TEST2"].images)
    bundle = load_bundle(folder)
    expected = bundle.predict_proba(images, CPU)
    alike = alone.load(folder=str(folder)), bundle.classifier()
    for found in alike:
        with torch.no_grad():
            np.testing.assert_allclose(
                found(torch.from_numpy(images)), expected, rtol=0, atol=1e-6
            )
    first = load_bundle(save_untrained(tmp_path / "first", small_dataset, temperature=0.4))
    assert np.abs(first.predict_proba(images, CPU) - expected).max() > 1e-3
    warm = load_bundle(save_untrained(tmp_path / "warm", small_dataset, further=[member]))
    assert np.abs(warm.predict_proba(images, CPU) - expected).max() > 1e-3


@pytest.mark.slow(reason="imports torch in a process of its own")
def test_it_needs_no_shiftsearch(small_dataset: Dataset, tmp_path: Path) -> None:
    folder = save_untrained(tmp_path / "best", small_dataset, {**BLOCKS, **STEPS})
    images = np.array(small_dataset.splits["TEST2"].images)
    np.save(tmp_path / "images.npy", images)
    places = [folder, tmp_path / "images.npy", tmp_path / "found.npy"]
    subprocess.run([sys.executable, "-c", CODE, *places], check=True, cwd=tmp_path)
    expected = load_bundle(folder).predict_proba(images, CPU)
    np.testing.assert_allclose(np.load(places[2]), expected, rtol=0, atol=1e-6)
