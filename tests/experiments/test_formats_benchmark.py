"""The benchmark of formats computes what the bundle does, and reads the files that it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks import formats
from shiftsearch.experiments.benchmarks.formats import (
    OURS,
    PLAIN,
    of_files,
    runners,
    sizes,
    speeds,
)
from shiftsearch.experiments.benchmarks.untrained import save_untrained
from shiftsearch.model.device import Device
from shiftsearch.model.export import rewrite
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.parity import made_formats, made_images, written

SLOW = "torch's exporter and a process that imports torch take seconds"
pytestmark = [pytest.mark.unit, pytest.mark.slow(reason=SLOW)]


def test_every_runner_gives_the_probabilities_of_the_bundle(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = {1: 2, 4: 1}
    monkeypatch.setattr(formats, "BATCHES", batches)
    folder = save_untrained(tmp_path / "best", tiny_dataset, temperature=0.4)
    bundle = load_bundle(folder)
    images = made_images(bundle).images
    files, parities = written(made_formats(bundle, ["pt2"], made_images(bundle)))
    rewrite(folder, folder, files, {"formats": parities})
    found = runners(folder, bundle)
    assert list(found) == [OURS, PLAIN, "pt2"]
    expected = bundle.predict_proba(images, Device("cpu", "float32", 1, "test"))
    for name, run in found.items():
        np.testing.assert_allclose(run(images), expected, rtol=0, atol=1e-5, err_msg=name)
    assert [f.name for f in sizes(folder)] == ["model.safetensors: MB", "model.pt2: MB"]
    fast = speeds(found, images, 2)
    assert len(fast) == len(batches) * len(found)
    assert all("ratio 1.00 (1.00 to 1.00)" in f.value for f in fast if OURS in f.name)


def test_files_are_read_by_the_command_and_by_each_runner(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    folder = save_untrained(tmp_path / "best", tiny_dataset)
    bundle = load_bundle(folder)
    images = made_images(bundle).images
    seen: list[np.ndarray] = []  # type: ignore[type-arg]

    def run(batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        seen.append(batch)
        return batch

    rows = of_files(folder, bundle, {"seen": run}, images, 3, 1)
    assert [f.name.split(" files")[0] for f in rows] == ["3 .npy", "3 .npy", "3 .png", "3 .png"]
    assert len(seen) == 2
    for batch in seen:
        np.testing.assert_array_equal(batch, images[:3])
