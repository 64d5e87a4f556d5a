"""What is said of each layer, that nothing depends on held-out images, and run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shiftsearch.data.cache import save_pack
from shiftsearch.data.dataset import Dataset, Split
from shiftsearch.experiments.analysis.inside import MAP_CHANNELS, FeatureMaps
from shiftsearch.experiments.analysis.run_analysis import Analysis, analyse, analyse_run
from shiftsearch.experiments.analysis.split_summary import SplitSummary
from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import division_of, prepare
from shiftsearch.model.protocol import build

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("gpu_of_others")]

CPU = Device("cpu", "float32", 1, "tests")
PROTOCOL = Protocol(holdout=0.5)
WINNER = Hyperparameters.from_flat(
    {"baseline.augmentation.contrast": 0.9, "fine_tune.augmentation.brightness": 0.1}
)
SIZE, CLASSES = (16, 16), 3


def weights(frozen: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Before and after a fine-tune that moved the layers after the first `frozen`."""
    before, other = (random_weights(seed, CLASSES, SIZE) for seed in (0, 1))
    kept = tuple(f"layers.{i}." for i in range(frozen))
    after = {k: t if k.startswith(kept) else t.lerp(other[k], 0.5) for k, t in floats(before)}
    return before, {**before, **after}


def floats(state: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in state.items() if tensor.is_floating_point()]


def explain(
    dataset: Dataset, frozen: int = 2, hyperparameters: Hyperparameters = WINNER
) -> Analysis:
    return analyse(dataset, PROTOCOL, *weights(frozen), hyperparameters, CPU)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Three classes of noise around a level of their own, darker from split to split."""
    splits, rng = {}, np.random.default_rng(0)
    for name, light in (("TRAIN", 1.0), ("TEST", 0.8), ("TEST2", 0.6)):
        labels = np.arange(36) % CLASSES
        levels = light * (80 + 60 * labels)[:, None, None]
        noisy = rng.normal(levels, 20, (36, *SIZE)).clip(0, 255)
        splits[name] = Split(noisy.astype(np.uint8), labels)
    return Dataset(("a", "b", "c"), splits)


@pytest.fixture(scope="module")
def analysis(dataset: Dataset) -> Analysis:
    return explain(dataset)


def test_frozen_layers_are_unchanged_and_others_are_not(analysis: Analysis) -> None:
    layers = {layer.name: layer for layer in analysis.layers}
    assert list(layers) == ["block 1", "block 2", "block 3", "dense 512", "head"]
    for name in ("block 1", "block 2"):
        layer = layers[name]
        assert (layer.frozen, layer.cka) == (True, 1)
        assert (layer.weight_change, layer.statistics_change) == (0, 0)
    for name in ("block 3", "dense 512", "head"):
        layer = layers[name]
        assert not layer.frozen
        assert layer.cka is not None
        assert layer.cka < 1
        assert layer.weight_change is not None
        assert layer.weight_change > 0.1
    assert layers["dense 512"].statistics_change is None


def test_moved_statistics_are_not_counted_as_weights(dataset: Dataset) -> None:
    before, _ = weights(4)
    name = "layers.1.normalisation.running_mean"
    batches = "layers.1.normalisation.num_batches_tracked"
    after = {**before, name: before[name] + 0.1, batches: before[batches] + 99}
    found = analyse(dataset, PROTOCOL, before, after, WINNER, CPU).layers[1]
    assert found.weight_change == 0
    # 64 variances of 1 and means of 0, the means moved by 0.1.
    assert found.statistics_change == pytest.approx(0.1)


def test_held_out_images_change_nothing(dataset: Dataset, analysis: Analysis) -> None:
    test2, division = dataset.splits["TEST2"], division_of(dataset, PROTOCOL)
    assert len(division.held_out) == 18
    images = test2.images.copy()
    images[division.held_out] = 255 - images[division.held_out]
    altered = {**dataset.splits, "TEST2": Split(images, test2.labels)}
    found = explain(Dataset(dataset.classes, altered))
    np.testing.assert_equal(asdict(found), asdict(analysis))


def test_test2_is_shown_and_scored_by_its_selection_part(
    dataset: Dataset, analysis: Analysis
) -> None:
    selection = set(division_of(dataset, PROTOCOL).selection.tolist())
    p, summary = analysis.predictions, analysis.splits[2]
    shown = [analysis.feature_maps, *p.mistakes, *summary.samples]
    assert {item.index for item in shown} <= selection
    images = dataset.splits["TEST2"].images
    for item in (analysis.feature_maps, *p.mistakes):
        np.testing.assert_array_equal(item.image, images[item.index])
    assert (summary.part, summary.n, analysis.cka_images, p.counts) == (
        "selection",
        18,
        18,
        (6, 6, 6),
    )
    part = prepare(dataset, PROTOCOL, CPU).selection
    for state, found in zip(weights(2), (p.before, p.after), strict=True):
        network = build(state, CLASSES, SIZE, CPU)
        assert found == evaluate(network, part.images, part.labels)


def strongest(summary: SplitSummary) -> float:
    """The most that augmentation changed a pixel of a sample."""
    return max(float(np.abs(s.augmented - s.preprocessed).max()) for s in summary.samples)


def test_splits_are_drawn_as_their_stage_draws_them(analysis: Analysis) -> None:
    train, test, test2 = analysis.splits
    assert [(s.name, s.augmentation) for s in analysis.splits] == [
        ("TRAIN", "baseline"),
        ("TEST", "fine_tune"),
        ("TEST2", None),
    ]
    assert strongest(train) > 0.15
    assert 0 < strongest(test) <= 0.1 + 1e-6
    assert {len(s.augmented) for s in test2.samples} == {0}
    pairs = [(s.first, s.second) for s in analysis.shifts]
    assert pairs == [("TRAIN", "TEST"), ("TRAIN", "TEST2"), ("TEST", "TEST2")]


def test_maps_are_the_strongest_channels_after_fine_tuning(
    dataset: Dataset, analysis: Analysis
) -> None:
    maps = analysis.feature_maps
    image = torch.from_numpy(maps.image).view(1, 1, *SIZE) / 255
    for i, block in enumerate(maps.blocks, start=1):
        shown = list(block.channels)
        for state, found in zip(weights(2), (block.before, block.after), strict=True):
            with torch.inference_mode():
                whole = build(state, CLASSES, SIZE, CPU).begin(image, i)[0]
            np.testing.assert_allclose(found, whole[shown], atol=1e-6)
        means = whole.mean(dim=(1, 2))
        assert means[shown].tolist() == sorted(means.tolist(), reverse=True)[:MAP_CHANNELS]


def test_all_is_explained_with_the_winners_preprocessing(
    dataset: Dataset, analysis: Analysis
) -> None:
    winner = Hyperparameters.from_flat({"preprocessing.intensity": "standardise"})
    found = explain(dataset, hyperparameters=winner)
    how = winner.preprocessing
    part = prepare(dataset, PROTOCOL, CPU).preprocessed(how).selection
    network = build(weights(2)[1], CLASSES, SIZE, CPU)
    assert found.predictions.after == evaluate(network, part.images, part.labels)
    assert found.predictions.after != analysis.predictions.after
    for item in (found.feature_maps, *(s for split in found.splits for s in split.samples)):
        image = item.image if isinstance(item, FeatureMaps) else item.stored
        np.testing.assert_array_equal(item.preprocessed, how.apply(image[None])[0])
    assert analysis.feature_maps.preprocessed is None
    assert found.shifts == analysis.shifts


def test_numbers_are_json(analysis: Analysis) -> None:
    found = analysis.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [layer["cka"] for layer in found["layers"]][:2] == [1, 1]
    assert (found["n"], found["classes"]) == (18, ["a", "b", "c"])
    assert found["probes"]["suggested"] is None  # too few images


def test_layers_are_probed_as_they_would_be_frozen(dataset: Dataset, analysis: Analysis) -> None:
    """With the batch statistics that the winner's frozen layers have."""
    probes = analysis.probes
    assert (probes.trained_on, probes.n) == (36, 18)
    assert [p.name for p in probes.layers] == ["block 1", "block 2", "block 3", "dense 512"]
    assert [p.after - p.before for p in probes.layers[:2]] == [0, 0]  # frozen
    adapted = Hyperparameters.from_flat(WINNER.to_flat() | {"fine_tune.batch_norm": "adapted"})
    found = explain(dataset, hyperparameters=adapted)
    assert found.layers == analysis.layers
    assert found.probes != probes


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Run:
    """As far as `analyse_run` is concerned, a finished one."""
    run = Run(tmp_path)
    save_pack(dataset, run.pack)
    before, after = weights(2)
    save_bundle(
        run.bundle,
        weights=after,
        baseline_weights=before,
        dataset=dataset,
        hyperparameters=WINNER,
        protocol=PROTOCOL,
        metrics=[],
        versions={},
        seed=0,
        number=3,
        replicate=1,
    )
    return run


def test_a_run_is_explained_from_its_folder(run: Run, analysis: Analysis) -> None:
    np.testing.assert_equal(rounded(asdict(analyse_run(run))), rounded(asdict(analysis)))


def rounded(value: Any) -> Any:
    """Floats of 9 digits: where an array lies in memory may decide the last bit of its sum."""
    if isinstance(value, dict):
        return {key: rounded(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(held) for held in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


@pytest.mark.parametrize("missing", ["dataset/TEST.images.npy", "best/baseline.safetensors"])
def test_a_run_without_its_files_is_refused_by_name(run: Run, missing: str) -> None:
    (run.folder / missing).unlink()
    with pytest.raises(NotARun, match=missing.rsplit("/")[-1]):
        analyse_run(run)


def test_a_bundle_of_other_data_is_refused(run: Run, dataset: Dataset) -> None:
    other = Dataset(dataset.classes, {**dataset.splits, "TRAIN": dataset.splits["TEST"]})
    save_pack(other, run.pack)
    with pytest.raises(NotARun, match=f"{other.digest}.*{dataset.digest}"):
        analyse_run(run)
