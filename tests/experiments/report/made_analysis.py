"""An analysis with every part in it, made up without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.experiments.analysis.answers import Mistake, Predictions
from shiftsearch.experiments.analysis.inside import BlockMaps, FeatureMaps, LayerChange
from shiftsearch.experiments.analysis.learning import Curves, LearningCurve
from shiftsearch.experiments.analysis.probes import LayerProbe, Probes
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.analysis.split_summary import Sample, Shift, SplitSummary
from shiftsearch.model.evaluation import Evaluation
from shiftsearch.model.result import STAGES
from tests.experiments.protocol_results import EPOCH, confusion

SIZE, BINS, CHANNELS = 28, 64, 8


def made_analysis(classes: Sequence[str], mistakes: int = 2) -> Analysis:
    """Of a network with one frozen layer, wrong on 6 images of each class.

    Args:
        classes: names, two at least.
        mistakes: how many are shown.
    """
    rng = np.random.default_rng(0)
    return Analysis(
        tuple(classes),
        (
            _split("TRAIN", "all", len(classes), "baseline", rng),
            _split("TEST", "all", len(classes), None, rng),
            _split("TEST2", "selection", len(classes), None, rng),
        ),
        (
            Shift("TRAIN", "TEST", 0.125, 0.0625),
            Shift("TRAIN", "TEST2", 0.25, 0.03125),
            Shift("TEST", "TEST2", 0.0625, 0.015625),
        ),
        Predictions(
            (90,) * len(classes),
            _evaluation(len(classes), 25),
            _evaluation(len(classes), 84),
            repaired=7,
            broken=3,
            mistakes=tuple(
                Mistake(40 + i, _pixels(rng), 0, 1, 0.875 - i / 100, 0, 0.5)
                for i in range(mistakes)
            ),
        ),
        FeatureMaps(99, _pixels(rng), 1, 0, 1, tuple(_maps(i, rng) for i in (1, 2, 3))),
        (
            LayerChange("block 1", True, 1.0, 0.0, 0.0),
            LayerChange("block 2", False, 0.975, 0.05, 0.1),
            LayerChange("block 3", False, 0.625, 0.1, 2.5),
            LayerChange("dense 512", False, 0.5, 0.2, None),
            LayerChange("head", False, None, None, None),
        ),
        541,
        made_probes(),
    )


def made_curves() -> Curves:
    """Of winner and reference, two epochs in each stage."""
    rows = ({**EPOCH, "epoch": 1}, {**EPOCH, "epoch": 2, "validation_loss": 0.5})
    return {t: {s: LearningCurve(rows, 2) for s in STAGES} for t in ("reference", "winner")}


def made_probes(n: int = 541) -> Probes:
    """The last layer that fine-tuning did not clearly improve is the second."""
    return Probes(
        (
            LayerProbe("block 1", 0.875, 0.9, (0.0125, 0.0375)),
            LayerProbe("block 2", 0.9375, 0.9453125, (-0.0125, 0.03)),
            LayerProbe("block 3", 0.9, 0.95, (0.02, 0.08)),
            LayerProbe("dense 512", 0.5, 0.96, (0.4, 0.5)),
        ),
        trained_on=600,
        n=n,
    )


def _pixels(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (SIZE, SIZE)).astype(np.uint8)


def _evaluation(classes: int, right: int) -> Evaluation:
    share = right / 90
    rows = tuple(tuple(row) for row in confusion(classes, right))
    return Evaluation(90 * classes, share, 0.5, (share,) * classes, rows)


def _split(
    name: str, part: str, classes: int, augmentation: str | None, rng: np.random.Generator
) -> SplitSummary:
    def drawn(*shape: int) -> NDArray[Any]:
        return rng.random(shape, dtype=np.float32)

    draws = 0 if augmentation is None else 2
    samples = tuple(
        Sample(i, i // 2, _pixels(rng), drawn(SIZE, SIZE), drawn(draws, SIZE, SIZE))
        for i in range(2 * classes)
    )
    histogram = np.full(BINS, 1 / (BINS - 1))
    histogram[3] = 0  # which a logarithmic scale must bear
    return SplitSummary(
        name,
        part,
        90 * classes,
        (90,) * classes,
        drawn(SIZE, SIZE),
        histogram,
        0.375,
        0.1875,
        samples,
        augmentation,
    )


def _maps(block: int, rng: np.random.Generator) -> BlockMaps:
    shape = (CHANNELS, SIZE >> block, SIZE >> block)
    before, after = rng.random((2, *shape), dtype=np.float32)
    return BlockMaps(f"block {block}", tuple(range(CHANNELS)), 4 * before, 2 * after)
