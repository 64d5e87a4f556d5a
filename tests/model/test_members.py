"""Bundles of several networks: hostile records are refused, own networks need a function."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import random_weights, save_untrained
from shiftsearch.model import alone, own_network
from shiftsearch.model.bundle_format import BundleError, Origin, checksum
from shiftsearch.model.device import Device
from shiftsearch.model.export import Member
from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.own_network import give

pytestmark = pytest.mark.unit

CPU = Device("cpu", "float32", 1, "test")
OWN: Mapping[str, Value] = {"network.name": "own", "network.source": "nets:small@" + "0" * 16}
ORIGIN = Origin(seed=0, number=1, replicate=0)


def member(values: Mapping[str, Value] = {}, share: float = 0.4) -> Member:
    weights = random_weights(2, 3, (16, 16), values)
    return Member(weights, Hyperparameters.from_flat(values), share, ORIGIN)


@pytest.fixture
def folder(small_dataset: Dataset, tmp_path: Path) -> Path:
    """A bundle of three networks."""
    further = [member(), member(share=0.3)]
    return save_untrained(tmp_path / "best", small_dataset, further=further)


def edited(folder: Path, place: str, value: Any) -> str:
    """The problems of the bundle with this value at a dotted place of the record."""
    record = json.loads((folder / "bundle.json").read_text())
    *parents, leaf = (int(part) if part.isdigit() else part for part in place.split("."))
    node = record
    for parent in parents:
        node = node[parent]
    node[leaf] = value
    (folder / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert all(len(problem) < 600 for problem in caught.value.problems)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("members", {}, "members is {}"),
        ("members", [7], "members.0 is 7"),
        ("members.0.share", 0.0, "members.0.share is 0.0: input should be greater than 0"),
        ("members.0.share", float("nan"), "members.0.share is nan"),
        ("members.0.share", 0.7, "members have shares with a sum of 1 or more"),
        ("members.0.file", "../model.safetensors", "members.0.file is '../model.safetensors'"),
        ("members.0.file", "/etc/passwd", "members.0.file is '/etc/passwd'"),
        ("members.0.file", "member-3.safetensors", "members must have different files"),
        ("members.0.file", "member-9.safetensors", "is missing, but bundle.json names it"),
        ("members.0.architecture", "x" * 10_000, "but must name a known one"),
        ("members.0.architecture.name", "nonsense", "but must name a known one"),
        ("members.0.architecture.classes", 4, "members.0.architecture has other classes"),
        ("members.0.architecture.image_size", [32, 32], "has other classes or another image_size"),
        ("members.0.architecture.filters", [32, 64, 10**6], "but must be float32"),
        ("members.0.preprocessing.intensity", "melt", "members.0.preprocessing.intensity is"),
        ("members.0.study.number", -1, "members.0.study.number is -1"),
        ("members.0.extra", 1, "members.0.extra is 1: extra inputs are not permitted"),
        ("checksums", {}, "is damaged"),
    ],
)
def test_a_hostile_member_is_refused(folder: Path, place: str, value: Any, said: str) -> None:
    record = json.loads((folder / "bundle.json").read_text())
    if place == "checksums":
        value = {**record["checksums"], "member-2.safetensors": "0"}
    assert said in edited(folder, place, value)


def test_weights_of_a_member_that_only_have_the_right_checksum_are_refused(
    folder: Path,
) -> None:
    content = (folder / "member-2.safetensors").read_bytes()[:-8]
    (folder / "member-2.safetensors").write_bytes(content)
    record = json.loads((folder / "bundle.json").read_text())
    record["checksums"]["member-2.safetensors"] = checksum(content)
    (folder / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"member-2\.safetensors: cannot be read"):
        load_bundle(folder)


def small(classes: int, image_size: tuple[int, int]) -> nn.Module:
    height, width = image_size
    layer = nn.Sequential(nn.Flatten(), nn.Linear(height * width, 8), nn.ReLU())
    return nn.Sequential(layer, nn.Linear(8, classes))


@pytest.mark.parametrize("first", [OWN, {}])
def test_an_ensemble_with_an_own_network_needs_its_function(
    first: Mapping[str, Value],
    small_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_network, "_GIVEN", {})
    give(str(OWN["network.source"]), small, 3, (16, 16))
    folder = save_untrained(tmp_path / "best", small_dataset, first, further=[member(OWN)])
    images = np.array(small_dataset.splits["TEST"].images)
    expected = load_bundle(folder).predict_proba(images, CPU)
    alone_found = alone.load(small, str(folder))
    with torch.no_grad():
        np.testing.assert_allclose(
            alone_found(torch.from_numpy(images)), expected, rtol=0, atol=1e-6
        )
    monkeypatch.setattr(own_network, "_GIVEN", {})
    with pytest.raises(BundleError, match="--network nets:small"):
        load_bundle(folder)
    bundle = load_bundle(folder, small)
    assert np.array_equal(bundle.predict_proba(images, CPU), expected)
    with torch.no_grad():
        found = bundle.classifier()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
