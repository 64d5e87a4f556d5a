"""What is probed of each layer, and the range that follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from shiftsearch.experiments.analysis import probes
from shiftsearch.experiments.analysis.probes import LEAST, LayerProbe, Probes, probe_layers
from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.outcome.statistics import paired_bootstrap
from shiftsearch.model.device import Device
from shiftsearch.model.network import Network
from shiftsearch.model.probe import linear_probe
from shiftsearch.model.protocol import build

pytestmark = pytest.mark.unit

CPU = Device("cpu", "float32", 1, "tests")
CLASSES = 3


def images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise around a level of the class: a probe is right on most of it, not on all."""
    labels = torch.arange(count) % CLASSES
    draws = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 1, 16, 16, generator=draws) * 200
    return (noise + 10 * labels[:, None, None, None]).to(torch.uint8), labels


def network(seed: int) -> Network:
    return build(random_weights(seed, CLASSES, (16, 16)), CLASSES, (16, 16), CPU)


@torch.no_grad()
def test_every_layer_is_probed_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven images to train on, the four evenly spaced ones are taken."""
    monkeypatch.setattr(probes, "MOST", 4)
    test, selection = images(7, 0), images(40, 1)
    pair = network(0), network(1)
    found = probe_layers(pair, test, selection, CLASSES)
    assert (found.trained_on, found.n) == (4, 40)
    few = torch.tensor([0, 2, 4, 6])
    for count, probe in enumerate(found.layers, start=1):
        right = []
        for one in pair:
            x, z = (one.begin(i.float() / 255, count) for i in (test[0][few], selection[0]))
            guess = linear_probe(x, test[1][few], z, CLASSES)
            if count == 4 and one is pair[1]:
                guess = one.finish(z, 4).argmax(1)
            right.append((guess == selection[1]).numpy().astype(np.float64))
        assert (probe.before, probe.after) == (right[0].mean(), right[1].mean())
        assert probe.interval == paired_bootstrap(right[1], right[0])[1:]


def test_a_frozen_layer_is_as_good_as_itself() -> None:
    one = network(0)
    found = probe_layers((one, one), images(12, 0), images(20, 1), CLASSES)
    assert all(p.before == p.after and p.interval == (0, 0) for p in found.layers)


def with_improved(improved: str, n: int = LEAST) -> Probes:
    same, better = (LayerProbe("x", 0.5, 0.6, bounds) for bounds in ((0.0, 0.2), (0.1, 0.2)))
    return Probes(tuple(better if c == "1" else same for c in improved), 600, n)


@pytest.mark.parametrize(
    ("improved", "most"), [("0000", 4), ("0011", 2), ("1011", 2), ("1110", 4), ("1111", 0)]
)
def test_all_up_to_the_last_layer_that_is_not_improved_may_be_frozen(
    improved: str, most: int
) -> None:
    assert with_improved(improved).suggested == (0, most)
    assert with_improved(improved).to_json()["suggested"] == [0, most]
    assert with_improved(improved, LEAST - 1).suggested is None
    assert replace(with_improved(improved), n=0).to_json()["suggested"] is None
